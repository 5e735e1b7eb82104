import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { nodeArgs } from '@postrider/test/node'
import { expect, test } from 'vitest'
import { expectNothingLeft, processesOf, start, until } from './demo-process.ts'
import type { Result } from './play.ts'

const main = [...nodeArgs, join(import.meta.dirname, 'main.ts')]
const small = ['--events', '200', '--json']
const minute = 60_000

test(
  'every committed event arrives in order, through the deaths of a relay and a receiver, and the result is one line of JSON',
  { timeout: minute },
  async () => {
    const demo = await start([...main, ...small])
    expect(await demo.ended).toBe(0)
    const lines = demo.stdout().trimEnd().split('\n')
    expect(lines).toHaveLength(1)
    const result = JSON.parse(lines[0]!) as Result
    expect(result).toEqual({
      committed: 200,
      delivered: 200,
      lost: 0,
      phantom: 0,
      outOfOrder: 0,
      badSignatures: 0,
      relayKills: 1,
      rolledBack: expect.any(Number) as number,
      duplicates: expect.any(Number) as number,
      p50Ms: expect.any(Number) as number,
      p99Ms: expect.any(Number) as number,
    })
    expect(result.duplicates).toBeGreaterThan(0)
    expect(result.p99Ms).toBeGreaterThanOrEqual(result.p50Ms)
    expect(demo.stderr()).toMatch(
      /relay 1 killed with SIGKILL[^]*relay 2 has taken over 4 lanes[^]*receiver 1 killed with SIGKILL/,
    )
    expect(demo.stderr()).toMatch(/a dead letter[^]*select postrider\.retry\([^]*has arrived: the dead letter first/)
    await expectNothingLeft(demo)
  },
)

test('a receiver that forgets, invents, swaps or damages events is found out', { timeout: minute }, async () => {
  const demo = await start([...main, ...small], { POSTRIDER_DEMO_FAULTS: 'forget,invent,swap,tamper' })
  expect(await demo.ended).toBe(1)
  expect(JSON.parse(demo.stdout())).toMatchObject({ committed: 200, lost: 1, phantom: 1, outOfOrder: 1, badSignatures: 1 })
  await expectNothingLeft(demo)
})

test('no process and no file is left after kill -9', { timeout: minute }, async () => {
  const demo = await start([...main, ...small])
  await until(() => demo.stderr().includes('the order service'))
  const processes = descendants(demo.child.pid!)
  for (const part of ['supervise.ts', 'bin/postgres', 'relay.ts', 'receiver.ts']) {
    expect(processes.join('\n')).toContain(part)
    expect(processesOf(demo.temp).join('\n')).toContain(part)
  }
  demo.child.kill('SIGKILL')
  await expectNothingLeft(demo)
})

test('no process and no file is left after kill -9 of what started it', { timeout: minute }, async () => {
  const demo = await start([join(import.meta.dirname, '..', 'bootstrap.mjs'), 'demo', ...small])
  await until(() => demo.stderr().includes('the order service'))
  demo.child.kill('SIGKILL')
  await expectNothingLeft(demo)
})

test('Ctrl-C ends it with exit status 130, and nothing is left', { timeout: minute }, async () => {
  const demo = await start([...main, ...small])
  await until(() => demo.stderr().includes('the order service'))
  demo.child.kill('SIGINT')
  expect(await demo.ended).toBe(130)
  expect(demo.stdout()).toBe('')
  await expectNothingLeft(demo)
})

test('when nobody watches, it tells the story in plain lines', { timeout: minute }, async () => {
  const demo = await start([...main, '--events', '200'])
  await until(() => demo.stdout().includes('the order service'))
  demo.child.kill('SIGTERM')
  expect(await demo.ended).toBe(143)
  expect(demo.stdout()).toMatch(/^ +0\.\d s {2}starting PostgreSQL[^]* s {2}relay 1 has taken 4 lanes\n/)
  expect(demo.stdout()).not.toContain('\x1b')
  await expectNothingLeft(demo)
})

test.for([
  [['--events', 'many'], 'whole number from 20 to 100,000, got many'],
  [['--evnts', '9'], '--evnts'],
] as const)('%j is refused with the reason and the help', async ([args, reason]) => {
  const demo = await start([...main, ...args])
  expect(await demo.ended).toBe(2)
  expect(demo.stderr()).toContain(reason)
  expect(demo.stderr()).toContain('npm run demo [-- options]')
  expect(demo.stdout()).toBe('')
})

function descendants(root: number): string[] {
  const { stdout } = spawnSync('ps', ['-eww', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
  const all = stdout.split('\n').map((line) => /^ *(\d+) +(\d+) (.*)$/.exec(line) ?? [])
  const below = (parent: number): string[] =>
    all.filter(([, , ppid]) => Number(ppid) === parent).flatMap(([, pid, , args]) => [args ?? '', ...below(Number(pid))])
  return below(root)
}
