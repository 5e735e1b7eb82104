import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { compiled, nodeArgs } from '../node.ts'

/** How a receiver behaves to a share of its requests. What `lies` and `stalls` do is done to requests that were taken. */
export interface Manners {
  readonly does: 'nothing' | 'refuses' | 'cuts' | 'lies' | 'slow' | 'stalls'
  /** 0 to 1. */
  readonly share: number
  /** For `slow` and `stalls`. */
  readonly ms: number
}

export const honest: Manners = { does: 'nothing', share: 0, ms: 0 }

export interface ChildOptions {
  readonly journal: string
  /** 0: a free one. */
  readonly port: number
  /** Empty: a new one. */
  readonly secret: string
  readonly seed: string
}

/** A receiver in a process of its own, that can die and come back at the same place. */
export class FaultyReceiver implements AsyncDisposable {
  readonly #journal: string
  readonly #seed: string
  #child: ChildProcess | undefined
  #manners = honest
  url = ''
  secret = ''
  /** Times that it was killed. */
  deaths = 0

  private constructor(journal: string, seed: string) {
    this.#journal = journal
    this.#seed = seed
  }

  static async start(journal: string, seed: string): Promise<FaultyReceiver> {
    const receiver = new FaultyReceiver(journal, seed)
    await receiver.comeBack()
    return receiver
  }

  async behave(manners: Manners): Promise<void> {
    this.#manners = manners
    if (this.#child !== undefined) await this.#ask(manners)
  }

  async die(): Promise<void> {
    if (this.#child === undefined) return
    this.deaths++
    await this.#end()
  }

  async comeBack(): Promise<void> {
    if (this.#child !== undefined) return
    const port = this.url === '' ? 0 : Number(new URL(this.url).port)
    const options: ChildOptions = { journal: this.#journal, port, secret: this.secret, seed: this.#seed }
    this.#child = fork(join(import.meta.dirname, 'receiver-child.ts'), [JSON.stringify(options)], {
      execArgv: [...nodeArgs],
      env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: compiled },
    })
    const { url, secret } = (await this.#answer()) as { url: string; secret: string }
    this.url = url
    this.secret = secret
    await this.behave(this.#manners)
  }

  /** What the living one has seen that a receiver must never see. */
  async complaints(): Promise<string[]> {
    return this.#child === undefined ? [] : ((await this.#ask('complaints')) as string[])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }

  async #end(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  async #ask(word: Manners | 'complaints'): Promise<unknown> {
    const answer = this.#answer()
    this.#child?.send(word)
    return await answer
  }

  async #answer(): Promise<unknown> {
    const child = this.#child
    if (child === undefined) throw new Error('the receiver does not run')
    const [answer] = (await once(child, 'message', { signal: AbortSignal.timeout(15_000) })) as [unknown]
    return answer
  }
}
