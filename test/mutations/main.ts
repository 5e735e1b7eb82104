/**
 * Breaks the core on purpose, one rule at a time, and runs the tests that keep the rule: each break must be caught.
 * Started by `npm run mutations`; takes names of mutations, or none for all of them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { copyProject } from './copy.ts'
import { mutations, type Mutation } from './mutations.ts'

const root = join(import.meta.dirname, '..', '..')
const runMs = 300_000

interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

process.exitCode = await main(process.argv.slice(2))

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !mutations.some((one) => one.name === name))
  if (unknown.length > 0) {
    process.stderr.write(
      `there is no mutation ${unknown.join(', ')}; there are: ${mutations.map(({ name }) => name).join(', ')}\n`,
    )
    return 2
  }
  const chosen = names.length === 0 ? mutations : mutations.filter(({ name }) => names.includes(name))
  await using copy = await copyProject(root)
  // Whatever fails here would look like a catch.
  for (const project of new Set(chosen.map((one) => one.project))) {
    const tests = [...new Set(chosen.filter((one) => one.project === project).flatMap((one) => one.tests))]
    const whole = await runTests(copy.directory, project, tests, false)
    if (whole.numFailedTests > 0 || whole.numPassedTests === 0) {
      process.stderr.write(`without a mutation they must pass, and did not: ${failuresOf(whole).join('; ')}\n`)
      return 1
    }
    process.stdout.write(`unbroken: ${whole.numPassedTests} tests of ${project} pass\n`)
  }
  let survived = 0
  for (const mutation of chosen) {
    const caughtBy = await tryOne(copy.directory, mutation)
    if (caughtBy === undefined) survived++
    process.stdout.write(`${caughtBy === undefined ? 'SURVIVED' : 'caught  '} ${mutation.name}: ${mutation.breaks}\n`)
    if (caughtBy !== undefined) process.stdout.write(`         by "${caughtBy}"\n`)
  }
  process.stdout.write(`${chosen.length} mutations, ${survived} survived\n`)
  return survived === 0 ? 0 : 1
}

/** The test that fails with the mutation, or undefined. */
async function tryOne(directory: string, { name, file, from, to, project, tests }: Mutation): Promise<string | undefined> {
  const path = join(directory, file)
  const text = await readFile(path, 'utf8')
  if (text.split(from).length !== 2) throw new Error(`${name}: its text does not stand once in ${file}`)
  await writeFile(
    path,
    text.replace(from, () => to),
  )
  try {
    return failuresOf(await runTests(directory, project, tests, true))[0]
  } finally {
    await writeFile(path, text)
  }
}

function failuresOf({ testResults }: Report): string[] {
  return testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
  )
}

async function runTests(directory: string, project: string, tests: readonly string[], bail: boolean): Promise<Report> {
  const report = join(directory, 'mutation-report.json')
  await rm(report, { force: true })
  const vitest = join(directory, 'node_modules', 'vitest', 'vitest.mjs')
  const args = ['run', '--config', 'test/vitest.config.ts', '--project', project, '--reporter', 'json', '--outputFile', report]
  const child = spawn(process.execPath, [vitest, ...args, ...(bail ? ['--bail', '1'] : []), ...tests], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, POSTRIDER_TEST_REPORT: '' },
    timeout: runMs,
  })
  let complaint = ''
  child.stderr.on('data', (data) => (complaint = `${complaint}${String(data)}`.slice(-2_000)))
  await once(child, 'close')
  try {
    return JSON.parse(await readFile(report, 'utf8')) as Report
  } catch {
    throw new Error(`the tests ${tests.join(', ')} did not run: ${complaint}`)
  }
}
