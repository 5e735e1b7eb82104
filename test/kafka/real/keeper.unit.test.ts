import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { until } from '../../until.ts'
import { openKeeper } from './keeper.ts'

const sleeper = ['-e', 'setTimeout(() => {}, 60_000)']

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** A process of its own that keeps a sleeper, and says what it has. */
async function owner(): Promise<{ child: ChildProcess; pid: number; directory: string }> {
  const program = `
    import { openKeeper } from ${JSON.stringify(join(import.meta.dirname, 'keeper.ts'))}
    const keeper = await openKeeper('postrider-keeper')
    const { pid } = await keeper.start(process.execPath, ${JSON.stringify(sleeper)}, keeper.directory + '/output')
    console.log(JSON.stringify({ pid, directory: keeper.directory }))
    setTimeout(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return { child, ...(JSON.parse(line) as { pid: number; directory: string }) }
}

test('what is kept ends with its owner, however that ends, and leaves no file', async () => {
  const { child, pid, directory } = await owner()
  expect(runs(pid)).toBe(true)
  process.kill(pid, 'SIGSTOP') // a stopped process must end too
  child.kill('SIGKILL')
  await until('the end of what was kept', () => !runs(pid) && !existsSync(directory))
  expect(existsSync(directory)).toBe(false)
})

test('closing ends what is kept and removes the directory', async () => {
  const keeper = await openKeeper('postrider-keeper')
  const kept = await keeper.start(process.execPath, sleeper, join(keeper.directory, 'output'))
  expect(runs(kept.pid)).toBe(true)
  await keeper[Symbol.asyncDispose]()
  expect(runs(kept.pid)).toBe(false)
  expect(await kept.end()).toBe('SIGKILL')
  expect(existsSync(keeper.directory)).toBe(false)
})

test('says how a program ended, and why one did not start', async () => {
  await using keeper = await openKeeper('postrider-keeper')
  const output = join(keeper.directory, 'output')
  const failing = await keeper.start(process.execPath, ['-e', 'process.exit(3)'], output)
  expect(await failing.end()).toBe('exit code 3')
  await expect(keeper.start('/no/such/program', [], output)).rejects.toThrow('ENOENT')
})
