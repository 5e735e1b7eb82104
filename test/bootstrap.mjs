/**
 * The way in: `node test/bootstrap.mjs audit | test | demo | demo:graduate | check | bench | faults | mutations [arguments]`.
 * Runs on any Node from 18, with nothing installed; installs the dependencies when they are missing or older than
 * the lockfile, then does the work with the Node 24 of this workspace. What it says itself goes to stderr.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bin = join(root, 'node_modules', '.bin')
const projectNode = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
const oldest = [22, 22] // engines of the root package.json
const source = '--conditions=@postrider/source'

const verbs = {
  test: (node) => [[node, 'node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vitest.config.ts']],
  demo: (node) => [[node, source, 'test/demo/main.ts']],
  'demo:graduate': (node) => [[node, source, 'test/demo/graduate/main.ts']],
  bench: (node) => [[node, source, 'test/bench/main.ts']],
  faults: (node) => [[node, source, 'test/faults/main.ts']],
  mutations: (node) => [[node, source, 'test/mutations/main.ts']],
  audit: (node) => [[node, source, 'test/security/audit.ts']],
  check: (node) => [
    [node, 'node_modules/typescript/bin/tsc', '-b', 'test'],
    [node, 'node_modules/oxlint/bin/oxlint', '--type-aware', '--deny-warnings'],
    [node, 'node_modules/oxfmt/bin/oxfmt', '--check', '.'],
    [node, 'node_modules/turbo/bin/turbo', 'boundaries', '--no-color'],
    [
      node,
      'node_modules/vitest/vitest.mjs',
      'run',
      '--config',
      'test/vitest.config.ts',
      '--project',
      'unit',
      'test/security/lockfile.unit.test.ts',
    ],
  ],
}

process.exitCode = await main(process.argv[2], process.argv.slice(3))

async function main(verb, args) {
  if (!Object.hasOwn(verbs, verb ?? '')) return fail(`which one? node test/bootstrap.mjs ${Object.keys(verbs).join(' | ')}`, 2)
  if (!installed() && !install()) return 1
  const node = usableNode()
  if (node === undefined) return 1
  const commands = verbs[verb](node)
  return commands.length === 1 ? run([...commands[0], ...args]) : runAll(commands)
}

/** Whether node_modules holds what the lockfile asks for. Optional packages may be missing: they are for other platforms. */
function installed() {
  const packages = (file) => JSON.parse(readFileSync(join(root, file), 'utf8')).packages
  try {
    const present = packages('node_modules/.package-lock.json')
    const wanted = Object.entries(packages('package-lock.json')).filter(([path]) => path.startsWith('node_modules/'))
    return wanted.every(([path, { version, link, resolved, optional }]) => {
      const found = present[path]
      if (found === undefined) return optional === true
      return link === true ? found.resolved === resolved : found.version === version
    })
  } catch {
    return false
  }
}

function install() {
  const started = Date.now()
  say('installing the dependencies (npm ci); this takes up to a minute the first time …')
  const { status, error } = npm(['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  if (status === 0) {
    say(`installed in ${Math.round((Date.now() - started) / 1000)} s`)
    return true
  }
  if (error?.code === 'ENOENT') fail('npm was not found; it comes with Node.js: https://nodejs.org')
  else fail('`npm ci` failed; see above. It needs the npm registry (or a filled npm cache) and write access to this directory.')
  return false
}

/** The Node of this workspace, repaired if its install script did not run; else the Node we run on, if it is new enough. */
function usableNode() {
  if (runs(projectNode)) return projectNode
  say('the Node.js of this workspace is missing, because install scripts are turned off; running that of the package `node` …')
  npm(['rebuild', 'node', '--ignore-scripts=false', '--foreground-scripts', '--loglevel=error'])
  if (runs(projectNode)) return projectNode
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) {
    say(`it could not be installed; using Node.js ${process.versions.node} instead`)
    return process.execPath
  }
  fail(
    `Node.js ${oldest.join('.')} or newer is needed and this is ${process.versions.node}. ` +
      'Install a newer one, or allow the package `node` to fetch it: npm rebuild node --ignore-scripts=false',
  )
  return undefined
}

/** Tried, not only looked for: a binary for another C library exists and cannot run. */
function runs(node) {
  return existsSync(node) && spawnSync(node, ['--version'], { stdio: 'ignore' }).status === 0
}

/** npm, with everything it prints on our stderr. */
function npm(args) {
  const windows = process.platform === 'win32'
  return spawnSync(windows ? 'npm.cmd' : 'npm', args, {
    cwd: root,
    stdio: ['ignore', process.stderr, process.stderr],
    shell: windows,
  })
}

/** Every check, also after one failed, and at the end what came of each. */
async function runAll(commands) {
  const results = []
  for (const command of commands) {
    const name = command
      .slice(1)
      .map((part) => part.split('/').at(-1))
      .join(' ')
    say(name)
    const started = Date.now()
    const code = await run(command)
    results.push({ code, line: `${code === 0 ? '✓' : '✗'} ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)` })
    if (code > 128) break // stopped by a signal
  }
  say(['what came of it:', ...results.map(({ line }) => line)].join('\n  '))
  return results.every(({ code }) => code === 0) ? 0 : 1
}

/** Runs one command with our own stdin, stdout and stderr, hands signals on, and resolves with its exit code. */
function run([command, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: 'inherit',
      env: {
        ...process.env,
        PATH: `${bin}${delimiter}${dirname(command)}${delimiter}${process.env.PATH ?? ''}`,
        TURBO_TELEMETRY_DISABLED: '1',
        DO_NOT_TRACK: '1',
      },
    })
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    const handOn = (signal) => {
      // A terminal sends Ctrl-C to the child as well: twice would mean "at once".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    }
    for (const signal of signals) process.on(signal, handOn)
    const done = (code) => {
      for (const signal of signals) process.off(signal, handOn)
      resolve(code)
    }
    child.on('error', (error) => done(fail(`${command} could not be started: ${error.message}`)))
    child.on('close', (code, signal) => done(code ?? 128 + constants.signals[signal]))
  })
}

function say(text) {
  process.stderr.write(`postrider: ${text}\n`)
}

function fail(text, code = 1) {
  say(text)
  return code
}
