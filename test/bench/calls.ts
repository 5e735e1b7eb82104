/** Calls from a benchmark to processes of its own, over the channel of `fork`. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { nodeArgs } from '../node.ts'

/** What a child can do, by verb: each takes one thing and answers another. */
type Verbs<V> = { readonly [Verb in keyof V]: (given: never) => unknown }

type GivenTo<F> = F extends (given: infer G) => unknown ? G : never
type AnswerOf<F> = F extends (given: never) => infer A ? Awaited<A> : never

export interface Child<V extends Verbs<V>> extends AsyncDisposable {
  /** @throws what the child threw; or when it has ended, or does not answer in time */
  call<Verb extends keyof V & string>(verb: Verb, given: GivenTo<V[Verb]>, deadlineMs?: number): Promise<AnswerOf<V[Verb]>>
  /** SIGKILL; resolves when it has ended. */
  kill(): Promise<void>
}

interface Question {
  readonly nr: number
  readonly verb: string
  readonly given: unknown
}

type Reply = { readonly nr: number; readonly answer: unknown } | { readonly nr: number; readonly error: string }

/** Where `node --cpu-prof` writes, for whoever wants to know where the time of a relay goes. */
const profileDirectory = process.env['POSTRIDER_BENCH_PROFILE']

/**
 * Starts a module as a process that never outlives this one. It does its verbs with {@link answerCalls}.
 * Disposing of it lets it end by itself, and kills it when it does not.
 */
export async function startChild<V extends Verbs<V>>(module: URL): Promise<Child<V>> {
  const profile = profileDirectory ? ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`] : []
  const child = fork(fileURLToPath(module), [], {
    execArgv: [...nodeArgs, ...profile],
    serialization: 'advanced',
    stdio: ['ignore', process.stderr, process.stderr, 'ipc'], // our stdout is the report
    env: { PATH: process.env['PATH'] },
  })
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  const ended = once(child, 'exit').then(([code, signal]) => {
    for (const { reject } of waiting.values()) reject(new Error(`${fileURLToPath(module)} ended (${String(signal ?? code)})`))
    waiting.clear()
  })
  child.on('message', (reply: Reply) => {
    const one = waiting.get(reply.nr)
    waiting.delete(reply.nr)
    if ('error' in reply) one?.reject(new Error(reply.error))
    else one?.resolve(reply.answer)
  })
  let calls = 0
  return {
    async call(verb, given, deadlineMs = 60_000) {
      const nr = ++calls
      const answer = Promise.withResolvers<unknown>()
      const question: Question = { nr, verb, given }
      if (!child.connected) throw new Error(`${verb}: the child has ended`)
      waiting.set(nr, answer)
      child.send(question)
      const late = setTimeout(() => {
        waiting.delete(nr)
        answer.reject(new Error(`${verb}: no answer within ${deadlineMs} ms`))
      }, deadlineMs)
      try {
        return (await answer.promise) as never
      } finally {
        clearTimeout(late)
      }
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect()
      const late = new AbortController()
      await Promise.race([ended, sleep(10_000, undefined, { signal: late.signal }).catch(() => undefined)])
      late.abort()
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** In the child: answers calls until the parent has gone. */
export function answerCalls<V extends Verbs<V>>(verbs: V): void {
  const answer = async ({ nr, verb, given }: Question): Promise<Reply> => {
    try {
      const handler = verbs[verb as keyof V] as unknown as ((given: unknown) => unknown) | undefined
      if (handler === undefined) throw new TypeError(`there is no ${verb}`)
      return { nr, answer: await handler(given) }
    } catch (error) {
      return { nr, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
  }
  process.on('message', (question: Question) => {
    void answer(question).then((reply) => process.send?.(reply))
  })
  process.on('disconnect', () => process.exit(0))
}
