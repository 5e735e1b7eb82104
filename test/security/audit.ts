/**
 * `npm run audit`: what is known to be wrong with what our packages bring along. Apart from the tests, because its answer
 * changes without us: an advisory that is published tonight must not turn a change red that has nothing to do with it.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { judgeAudit } from './judge-audit.ts'

const root = join(import.meta.dirname, '..', '..')
const deadlineMs = 120_000
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'

const { stdout, stderr, error } = spawnSync(npm, ['audit', '--omit=dev', '--package-lock-only', '--json'], {
  cwd: root,
  encoding: 'utf8',
  timeout: deadlineMs,
  maxBuffer: 64 * 2 ** 20,
  shell: process.platform === 'win32',
})
const { line, code } = judgeAudit(stdout ?? '', error?.message ?? stderr ?? '')
process.stderr.write(`${line}\n`)
process.exitCode = code
