import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { nodeArgs } from '../node.ts'
import { until } from '../until.ts'
import { root } from './pages.ts'

/** A directory in which a user types commands: `npx postrider` is this checkout's, `npm run` only looks whether there is such a script. */
export interface Shell extends AsyncDisposable {
  readonly directory: string
  /** Starts lines as `sh -e` reads them from a terminal. */
  start(lines: string, env: Readonly<Record<string, string>>): Typed
}

export interface Typed {
  /** Everything printed so far. */
  output(): string
  wrote(words: string | RegExp): Promise<void>
  /** Of the last command, or of the first that failed. */
  readonly ended: Promise<number | null>
  /** As Ctrl-C does: to everything that was started; resolves when all of it is gone. */
  interrupt(): Promise<void>
}

const commands: Readonly<Record<string, string>> = {
  npx: `[ "$1" = postrider ] || { echo "npx $1 is not ours" >&2; exit 1; }
shift
exec '${process.execPath}' ${nodeArgs.join(' ')} '${join(root, 'packages/postrider/src/main.ts')}' "$@"`,
  npm: `exec '${process.execPath}' -e '
const { scripts } = JSON.parse(fs.readFileSync(process.argv[1], "utf8"))
const script = process.argv[2] === "run" ? process.argv[3] : process.argv[2]
if (!Object.hasOwn(scripts, script)) { console.error("there is no script " + script); process.exit(1) }
' '${join(root, 'package.json')}' "$@"`,
}

export async function openShell(): Promise<Shell> {
  const directory = await mkdtemp(join(tmpdir(), 'postrider-docs-'))
  const bin = await mkdtemp(join(tmpdir(), 'postrider-docs-bin-'))
  for (const [name, script] of Object.entries(commands)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`)
    await chmod(join(bin, name), 0o755)
  }
  const started: Typed[] = []
  return {
    directory,
    start(lines, env) {
      const typed = type(lines, { directory, bin, env })
      started.push(typed)
      return typed
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((typed) => typed.interrupt()))
      for (const path of [directory, bin]) await rm(path, { recursive: true })
    },
  }
}

function type(
  lines: string,
  { directory, bin, env }: { readonly directory: string; readonly bin: string; readonly env: Readonly<Record<string, string>> },
): Typed {
  // A group of its own, as a terminal gives it, so that an interrupt reaches what runs in the background too.
  const child = spawn('sh', ['-e', '-c', lines], {
    cwd: directory,
    env: { ...env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  let gone = false
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  const closed = once(child, 'close').then(() => {
    gone = true
  })
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // All gone.
    }
  }
  return {
    output: () => output,
    ended,
    wrote: (words) =>
      until(`the shell writes ${words}`, () => {
        const there = typeof words === 'string' ? output.includes(words) : words.test(output)
        if (!there && gone) throw new Error(`it ended and never wrote ${words}:\n${output}`)
        return there
      }),
    async interrupt() {
      if (gone) return
      // Not SIGINT, which a shell without job control makes its background commands ignore.
      signal('SIGTERM')
      const timer = setTimeout(() => signal('SIGKILL'), 8_000)
      await closed
      clearTimeout(timer)
    },
  }
}
