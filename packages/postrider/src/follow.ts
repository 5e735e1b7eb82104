import { setTimeout as sleep } from 'node:timers/promises'
import { PostriderError } from '@postrider/schema'
import { exitCodes } from './exit.ts'
import { hasEnded, type Operation, type Operations, wordOperation } from './operation.ts'
import { printJson, say } from './print.ts'
import { Progress, type ProgressOptions } from './progress.ts'

const lookMs = 200
/** A relay that is alive takes an operation up at once; when nothing has moved for so long, we do it. */
const patienceMs = 5_000
const aliveEveryMs = 2_000
/** Events of one piece. */
const piece = 500

/**
 * Waits for the end of an operation and shows its progress. Where no relay works on it, it is worked off from here: all its
 * progress is in the database, so a relay may take over at any time. Ctrl-C ends the waiting, not the operation.
 *
 * @throws PostriderError `not_found`; Error when the operation failed or was cancelled.
 */
export async function follow(operations: Operations, id: string, options: ProgressOptions): Promise<void> {
  const interrupt = new AbortController()
  const onInterrupt = (): void => interrupt.abort()
  process.once('SIGINT', onInterrupt)
  using progress = new Progress(`operation ${id}`, options)
  const worker = new Worker(operations, id)
  try {
    for (;;) {
      const operation = await operations.read(id)
      if (operation === null) throw new PostriderError('not_found', `There is no operation ${id}.`)
      progress.show(stepOf(operation))
      if (hasEnded(operation)) {
        progress.clear()
        await tellEnd(operations, operation, options)
        return
      }
      const moved = await worker.help(operation, () => {
        progress.clear()
        say('No relay works on it, so it is worked off from here.')
      })
      if (interrupt.signal.aborted) break
      if (!moved) await sleep(lookMs, undefined, { signal: interrupt.signal }).catch(() => undefined)
    }
  } finally {
    process.off('SIGINT', onInterrupt)
  }
  progress.clear()
  const how = worker.working ? 'waits for a relay, or for the next who watches it' : 'goes on'
  say(`Operation ${id} ${how}. Watch it: postrider ops watch ${id}. End it: postrider ops cancel ${id}`)
  process.exitCode = exitCodes.interrupted
}

/** Works an operation off when nobody else does. */
class Worker {
  readonly #operations: Operations
  readonly #id: string
  working = false
  #reached = ''
  #movedAt = performance.now()
  #askedAt = -Infinity

  constructor(operations: Operations, id: string) {
    this.#operations = operations
    this.#id = id
  }

  /** One piece, if that is ours to do; true when it came further. */
  async help(operation: Operation, onBegin: () => void): Promise<boolean> {
    const now = performance.now()
    const reached = [operation.state, operation.done, operation.skipped, operation.waiting].join()
    if (reached !== this.#reached) {
      this.#reached = reached
      this.#movedAt = now
    }
    if (now - this.#askedAt > aliveEveryMs) {
      this.#askedAt = now
      const alone = !(await this.#operations.relayIsAlive())
      const still = !operation.waiting && operation.rate === null && now - this.#movedAt > patienceMs
      if (!this.working && (alone || still)) onBegin()
      this.working = alone || still
    }
    if (!this.working) return false
    const after = await this.#piece()
    return after !== null && (after.done > operation.done || after.skipped > operation.skipped || hasEnded(after))
  }

  async #piece(): Promise<Operation | null> {
    try {
      return await this.#operations.advance(this.#id, piece)
    } catch (error) {
      // A lock that somebody holds: the next time.
      if (error instanceof Error && 'code' in error && /^(40|55)/.test(String(error.code))) return null
      throw error
    }
  }
}

function stepOf(operation: Operation): Parameters<Progress['show']>[0] {
  const { id, kind, state, done, skipped, total, countedAll, waiting } = operation
  return {
    done: done + skipped,
    total: countedAll ? total : null,
    waits: waiting ? 'waits for its events to be delivered' : null,
    more: { operation: id, kind, state, skipped },
  }
}

async function tellEnd(operations: Operations, operation: Operation, { json }: ProgressOptions): Promise<void> {
  const underWay = operation.kind === 'replay' ? await operations.underWay(operation.id) : null
  if (json) printJson({ type: 'operation', ...operation, ...(underWay !== null && { underWay }) })
  if (operation.state !== 'done') throw new Error(wordOperation(operation))
  if (json) return
  say(wordOperation(operation))
  if (underWay !== null && underWay > 0) {
    const shown = underWay > 10_000 ? 'More than 10,000' : underWay.toLocaleString('en')
    say(`${shown} of them ${underWay === 1 ? 'is' : 'are'} not delivered yet; what waits: postrider status`)
  }
}
