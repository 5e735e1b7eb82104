import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { nodeArgs } from './node.ts'
import type { Receiver } from './receiver.ts'

/** What a receiver in another process has seen. */
export type Report = Pick<Receiver, 'distinct' | 'taken' | 'complaints'>

export interface ReceiverProcess extends AsyncDisposable, Pick<Receiver, 'url' | 'secret'> {
  /** Different events taken so far. */
  distinct(): Promise<number>
  report(): Promise<Report>
}

/** A receiver that does not share its thread with the writers. */
export async function startReceiverProcess(): Promise<ReceiverProcess> {
  const child = fork(join(import.meta.dirname, 'receiver-child.ts'), { execArgv: [...nodeArgs], serialization: 'advanced' })
  const answer = async <T>(word?: string): Promise<T> => {
    const told = once(child, 'message')
    if (word !== undefined) child.send(word)
    return ((await told) as [T])[0]
  }
  const { url, secret } = await answer<Pick<Receiver, 'url' | 'secret'>>()
  return {
    url,
    secret,
    distinct: async () => (await answer<Report>('distinct')).distinct,
    report: () => answer<Report>('report'),
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'close')
      child.kill('SIGKILL')
      await ended
    },
  }
}
