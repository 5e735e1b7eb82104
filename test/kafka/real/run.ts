import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { newBroker, type KafkaBroker, type Place } from './broker.ts'
import { makeCertificate } from './certificate.ts'
import { openKeeper, type Keeper } from './keeper.ts'
import { checkOptions, type KafkaOptions, type KafkaUser } from './options.ts'
import { freePorts } from './ports.ts'
import { scramArguments, serverProperties, type Node } from './properties.ts'
import type { Release } from './release.ts'

/** A running Kafka of one's own. Disposing of it kills the brokers and removes their data. */
export interface Kafka extends AsyncDisposable {
  /** `host:port` of each broker, for clients. */
  readonly bootstrap: readonly string[]
  readonly brokers: readonly KafkaBroker[]
  /** Who may do everything; undefined unless `sasl` was asked for. */
  readonly admin: KafkaUser | undefined
  /** PEM of the certificate that clients must trust; undefined unless `tls` was asked for. */
  readonly ca: string | undefined
}

const portAttempts = 4

/** Runs brokers with more arguments for their JVM; again on other ports, when one was taken between choosing and binding it. */
export async function runCluster(release: Release, options: KafkaOptions, jvm: readonly string[] = []): Promise<Kafka> {
  checkOptions(options)
  const deadline = Date.now() + (options.startTimeoutMs ?? 60_000)
  for (let attempt = 1; ; attempt++) {
    const keeper = await openKeeper('postrider-kafka')
    try {
      return await runOnce(release, options, jvm, keeper, deadline)
    } catch (error) {
      await keeper[Symbol.asyncDispose]()
      const taken = /BindException|Address already in use/.test(String(error))
      if (!taken || attempt === portAttempts) throw error
    }
  }
}

async function runOnce(
  release: Release,
  options: KafkaOptions,
  jvm: readonly string[],
  keeper: Keeper,
  deadline: number,
): Promise<Kafka> {
  const count = options.brokers ?? 1
  const ports = await freePorts(3 * count)
  const nodes: Node[] = Array.from({ length: count }, (_, index) => {
    const [port = 0, internal = 0, controller = 0] = ports.slice(3 * index)
    return { id: index + 1, port, internal, controller }
  })
  const admin = { username: 'admin', password: randomBytes(12).toString('hex') }
  const others = Object.entries(options.users ?? {}).map(([username, password]) => ({ username, password }))
  const users = options.sasl === undefined ? [] : [admin, ...others]
  const certificate = options.tls ? await makeCertificate(release.java, keeper.directory) : undefined

  const java = javaCommand(release, keeper.directory, jvm)
  const places: Place[] = []
  for (const node of nodes) {
    const home = join(keeper.directory, `broker-${node.id}`)
    const settings = join(home, 'server.properties')
    await mkdir(join(home, 'data'), { recursive: true })
    await writeFile(settings, serverProperties(node, nodes, home, options, users, certificate))
    places.push({
      node,
      output: join(home, 'output.log'),
      args: [...java, 'kafka.Kafka', settings],
      command: release.java.command,
    })
  }
  await format(
    keeper,
    release.java.command,
    javaCommand(release, keeper.directory),
    nodes,
    scramArguments(options, users),
    deadline,
  )

  const brokers = places.map((place) => newBroker(keeper, place, nodes.length))
  await Promise.all(brokers.map((broker) => broker.startUntil(deadline)))
  return {
    bootstrap: nodes.map(({ port }) => `127.0.0.1:${port}`),
    brokers,
    admin: users[0],
    ca: certificate?.ca,
    [Symbol.asyncDispose]: () => keeper[Symbol.asyncDispose](),
  }
}

/** Java and what makes it quick to start and small; nothing is left in the temp directory. */
function javaCommand(release: Release, directory: string, more: readonly string[] = []): string[] {
  const archive =
    release.archive === undefined ? [] : [`-XX:SharedArchiveFile=${release.archive}`, '-Xlog:cds=off', '-Xlog:cds+dynamic=off']
  return [
    '-Xmx384m',
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    '-XX:-UsePerfData',
    `-Djava.io.tmpdir=${directory}`,
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    ...archive,
    ...more,
    '-cp',
    release.classPath.join(process.platform === 'win32' ? ';' : ':'),
  ]
}

/** Formats the directory of the first broker, and gives the others the same, each with its own name on it. */
async function format(
  keeper: Keeper,
  command: string,
  java: readonly string[],
  nodes: readonly Node[],
  scram: readonly string[],
  deadline: number,
): Promise<void> {
  const home = (id: number): string => join(keeper.directory, `broker-${id}`)
  const data = (id: number, file: string): string => join(home(id), 'data', file)
  const cluster = uuid()
  const output = join(keeper.directory, 'format.log')
  const arguments_ = ['format', '--cluster-id', cluster, '--config', join(home(1), 'server.properties'), ...scram]
  const tool = await keeper.start(command, [...java, 'kafka.tools.StorageTool', ...arguments_], output)
  const outcome = await Promise.race([tool.end(), sleep(Math.max(0, deadline - Date.now()), 'it did not end', { ref: false })])
  if (outcome !== 'exit code 0') {
    throw new Error(`Kafka's directory could not be made (${outcome}): ${await readFile(output, 'utf8').catch(() => '')}`)
  }
  for (const { id } of nodes.slice(1)) {
    await copyFile(data(1, 'bootstrap.checkpoint'), data(id, 'bootstrap.checkpoint'))
    await writeFile(data(id, 'meta.properties'), `version=1\nnode.id=${id}\ncluster.id=${cluster}\ndirectory.id=${uuid()}\n`)
  }
}

/** As Kafka writes them: 16 bytes in the alphabet of URLs. It wants none that begins as an option does. */
function uuid(): string {
  const text = randomBytes(16).toString('base64url')
  return text.startsWith('-') ? uuid() : text
}
