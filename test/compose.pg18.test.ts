import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodeArgs } from '@postrider/test/node'
import { testDatabase } from '@postrider/test/postgres'
import { expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'

interface Compose {
  readonly services: Readonly<
    Record<'postrider' | 'relay' | 'receiver', { command: string[]; environment: Record<string, string> }>
  >
  readonly configs: { readonly 'postrider.yaml': { readonly content: string } }
}

const root = join(import.meta.dirname, '..')

test('the services of docker-compose.yml carry an event from emit to the receiver', async () => {
  await using db = await testDatabase({ migrated: false })
  const [port, healthPort] = [await freePort(), await freePort()]
  const directory = await mkdtemp(join(tmpdir(), 'postrider-compose-'))
  onTestFinished(() => rm(directory, { recursive: true }))

  // As Docker would do it, with our addresses in the place of its names.
  const { services, configs } = parse(await readFile(join(root, 'docker-compose.yml'), 'utf8'), { merge: true }) as Compose
  const here = (text: string): string =>
    text.replaceAll('$$', '$').replaceAll('receiver:4000', `127.0.0.1:${port}`).replace('[receiver]', '[127.0.0.1]')
  const file = join(directory, 'postrider.yaml')
  await writeFile(file, `${here(configs['postrider.yaml'].content)}  port: ${healthPort}\n`)
  const places: Record<string, string> = { '0.0.0.0': '127.0.0.1', '4000': String(port), '/etc/postrider/postrider.yaml': file }
  const command = (service: keyof Compose['services']): string[] => services[service].command.map((word) => places[word] ?? word)
  const secret = /:-(.*)\}$/.exec(services.relay.environment['WEBHOOK_SECRET'] ?? '')?.[1]
  const env = { ...process.env, POSTRIDER_DATABASE_URL: db.url, WEBHOOK_SECRET: secret }
  const start = (args: readonly string[]): Program => run(args, env)

  expect(await start(command('postrider')).ended).toBe(0)
  const receiver = start(command('receiver'))
  const relay = start(command('relay'))
  const ready = ['health', '--ready', '--url', `http://127.0.0.1:${healthPort}`]
  await until(async () => (await start(ready).ended) === 0)
  expect(await start(['emit', 'order.placed', '--key', '1', '--data', '{"orderId":1}']).ended).toBe(0)
  await until(() => receiver.output().includes('order.placed'))
  expect(receiver.output()).toMatch(/200 +order\.placed .*taken/)
  for (const service of [relay, receiver]) {
    service.child.kill('SIGTERM')
    expect(await service.ended).toBe(0)
  }
})

interface Program {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  output(): string
}

function run(args: readonly string[], env: NodeJS.ProcessEnv): Program {
  const child = spawn(process.execPath, [...nodeArgs, join(root, 'packages/postrider/src/main.ts'), ...args], { env })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)))
  return { child, ended: once(child, 'close').then(([code]) => code as number | null), output: () => output }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`still not so after 20 s: ${String(done)}`)
    await sleep(50)
  }
}
