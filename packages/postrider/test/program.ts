import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeArgs } from '@postrider/test/node'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** The program as a process of its own. */
export interface Program extends AsyncDisposable {
  /** What it has written so far. */
  readonly output: { readonly stdout: string; readonly stderr: string }
  readonly ended: Promise<Ended>
  /** Resolves when this text is on stdout or stderr. */
  wrote(wanted: string | RegExp): Promise<void>
  kill(signal: NodeJS.Signals): void
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Where its configuration lies. */
  readonly directory?: string
  /** For its stdin, which is no terminal. */
  readonly input?: string
}

const deadlineMs = 20_000
/** Node keeps what it has compiled here, so that a process starts in half the time. */
const compiled = join(tmpdir(), `postrider-compiled-${process.getuid?.() ?? 0}`)

/** Starts `postrider …` from its sources, with nothing of the caller's environment but PATH. */
export function startProgram(args: readonly string[], { env = {}, directory = '/', input = '' }: ProgramOptions = {}): Program {
  const child = spawn(process.execPath, [...nodeArgs, main, ...args], {
    cwd: directory,
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: compiled, ...env },
    timeout: deadlineMs * 1.25,
    killSignal: 'SIGKILL',
  })
  const output = { stdout: '', stderr: '' }
  const readers = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk
      for (const look of readers) look()
    })
  }
  child.stdin.on('error', () => undefined).end(input)
  const { promise: ended, resolve, reject } = Promise.withResolvers<Ended>()
  child.on('error', reject)
  child.on('close', (code) => resolve({ code, ...output }))
  return {
    output,
    ended,
    kill: (signal) => void child.kill(signal),
    async wrote(wanted) {
      const found = (): boolean =>
        [output.stdout, output.stderr].some((all) => (typeof wanted === 'string' ? all.includes(wanted) : wanted.test(all)))
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const give = (reason: string) => () =>
        reject(new Error(`${reason} and never wrote ${wanted}:\n${output.stdout}${output.stderr}`))
      const timer = setTimeout(give('the program ran on'), deadlineMs)
      const look = (): void => void (found() && resolve())
      readers.add(look)
      child.once('close', give('the program ended'))
      look()
      await promise.finally(() => {
        clearTimeout(timer)
        readers.delete(look)
      })
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** Runs `postrider …` to its end. */
export async function runProgram(args: readonly string[], options?: ProgramOptions): Promise<Ended> {
  await using program = startProgram(args, options)
  return await program.ended
}
