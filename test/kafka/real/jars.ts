/** The jars of Apache Kafka from Maven Central, verified and kept for the next run. */
import { createHash } from 'node:crypto'
import { access, constants, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import lock from './jars.json' with { type: 'json' }

export interface Lock {
  /** Of Kafka. */
  readonly version: string
  /** Path on Maven Central, bytes, and checksum of each jar on the class path of a broker. */
  readonly jars: readonly Jar[]
}

interface Jar {
  readonly path: string
  readonly size: number
  readonly sha256: string
}

export const kafkaVersion: string = lock.version

const central = 'https://repo1.maven.org/maven2/'
const attempts = 4
const attemptTimeoutMs = 60_000
const atOnce = 6

/**
 * Where the jars are kept: in node_modules of this checkout, or in the home directory when that may not be written.
 * POSTRIDER_KAFKA_CACHE names another directory.
 */
export async function openCache(): Promise<string> {
  const given = process.env['POSTRIDER_KAFKA_CACHE']
  const name = join('.cache', 'postrider', `kafka-${lock.version}`)
  const candidates = given ? [given] : [join(import.meta.dirname, '..', '..', '..', 'node_modules', name), join(homedir(), name)]
  const reasons: string[] = []
  for (const directory of candidates) {
    try {
      if (await isComplete(directory)) return directory // though it may not be written
      await mkdir(directory, { recursive: true })
      await access(directory, constants.W_OK)
      return directory
    } catch (error) {
      reasons.push(String(error))
    }
  }
  throw new Error(`The jars of Kafka can be kept nowhere; POSTRIDER_KAFKA_CACHE may name a directory: ${reasons.join('; ')}`)
}

async function isComplete(directory: string): Promise<boolean> {
  return (await Promise.all(lock.jars.map((jar) => isKept(jar, directory)))).every(Boolean)
}

/** A file of the right size that stands under its name was verified before it was given that name. */
async function isKept(jar: Jar, directory: string): Promise<boolean> {
  return (await stat(join(directory, basename(jar.path))).catch(() => undefined))?.size === jar.size
}

/** The class path of a broker, in a fixed order; fetched first when it is not here yet. Two runs may fetch at the same time. */
export async function classPath(directory: string, { jars }: Lock = lock, from: string = central): Promise<string[]> {
  const waiting = [...jars]
  const carry = async (): Promise<void> => {
    for (let jar = waiting.shift(); jar !== undefined; jar = waiting.shift()) await provide(jar, directory, from)
  }
  await Promise.all(Array.from({ length: atOnce }, carry))
  return jars.map(({ path }) => join(directory, basename(path)))
}

async function provide(jar: Jar, directory: string, from: string): Promise<void> {
  if (await isKept(jar, directory)) return
  const bytes = await download(jar, from)
  const draft = await mkdtemp(join(directory, '.draft-'))
  try {
    await writeFile(join(draft, 'jar'), bytes, { mode: 0o644 })
    await rename(join(draft, 'jar'), join(directory, basename(jar.path)))
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

async function download(jar: Jar, from: string): Promise<Buffer> {
  const url = new URL(jar.path, from)
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(attemptTimeoutMs) })
      if (!response.ok) throw new Error(`status ${response.status}`)
      const bytes = Buffer.from(await response.arrayBuffer())
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      if (sha256 !== jar.sha256) throw new Error(`its sha256 is ${sha256}, and ${jar.sha256} was expected`)
      return bytes
    } catch (cause) {
      if (attempt === attempts) throw new Error(`${url.href} could not be fetched: ${String(cause)}`, { cause })
      await sleep(250 * 2 ** attempt)
    }
  }
}
