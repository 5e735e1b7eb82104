import { expect, test } from 'vitest'
import { runProgram } from './program.ts'

test.each<[args: string[], words: string]>([
  [['statsu'], 'Did you mean status?'],
  [['status', '--jsn'], 'Did you mean --json?'],
  [['dead', 'retry'], 'give the ids of events'],
  [['events', 'explain', 'x'], 'the id of an event, which is a UUID'],
  [['events', 'list', '--state', 'lost'], 'Allowed choices are pending, scheduled'],
  [['events', 'list', '--after', 'x'], 'a position in the log'],
  [['tail', '--outcome', 'late'], 'one of delivered, retry'],
  [['tail', '--since', 'yesterday'], 'a time with its zone'],
  [['status', '--watch', '0.1'], 'seconds from 0.5 to 3600'],
  [['pause', 'billing'], '--reason <text>'],
  [['pause', '--reason', 'x'], 'give the name of a sink, or --all'],
  [['resume', 'billing', '--from', 'there'], 'all, skip, or a time'],
  [['sinks', 'limits', 'billing'], 'give --concurrency, --rate or both; or --reset'],
  [['listen', '--fail', 'often'], 'a share such as 30% or 0.3'],
  [['listen', '--fail', '80%', '--drop', '30%'], 'more than 100% together'],
  [['listen', '--delay', '5'], 'a time such as 200ms, 2s or 1m'],
  [['listen', '--secret-env', 'NOT_SET'], 'NOT_SET is not set'],
  [['graduate', 'cutover', '--sink', 'a', '--type', 'b', '--consumer', 'c', '--force'], '--force needs --reason'],
  [['graduate', 'cutover', '--sink', 'a', '--consumer', 'c'], '--type <filter>'],
  [['graduate', 'rollback', '1'], '--reason <text>'],
  [['graduate', 'finish', 'one'], 'the number of a cutover'],
  [['kafka', 'topics', 'apply', '--set', 'retention.ms'], 'retention.ms=604800000'],
  [['status'], 'database.url: is missing'],
  [['start', '--config', 'nope.yaml'], '/nope.yaml: there is no such file'],
])('%j is a wrong usage: exit 2, words on stderr, nothing on stdout', async (args, words) => {
  const { code, stdout, stderr } = await runProgram(args)
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toContain(words)
})

test('--help and --version are answers, not errors', async () => {
  const help = await runProgram(['dead', 'retry', '--help'])
  expect([help.code, help.stderr]).toEqual([0, ''])
  expect(help.stdout).toContain('--yes')
  expect((await runProgram(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})
