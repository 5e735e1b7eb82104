import { subscribe } from '@postrider/relay'
import type { Logger } from 'pino'
import { lineOf, type AttemptMessage } from './attempt.ts'
import { createSummaries } from './summary.ts'

const windowMs = 10_000
/** Lines of retries with one reason at one sink in a window; the rest is left to `debug` and counted. */
const mostAlike = 10

/**
 * Writes what relays of this process tell about themselves: one line for each attempt (delivered: debug, retry: info,
 * dead: warn), one when the database or the listener changes, and every 10 s a summary of each sink to which something happened.
 */
export function followRelays(log: Logger): Disposable {
  const summaries = createSummaries()
  const alike = new Map<string, number>()
  const endings = [
    subscribe('postrider:attempt', (attempt) => {
      const suppressed = isOneTooMany(attempt, alike)
      summaries.add(attempt, suppressed)
      const level = suppressed || attempt.verdict === 'delivered' ? 'debug' : 'info'
      if (attempt.verdict !== 'dead' && !log.isLevelEnabled(level)) return
      const line = lineOf(attempt, Date.now())
      log[suppressed ? 'debug' : line.level](line.fields, line.sentence)
    }),
    ...followChanges(log),
  ]
  const timer = setInterval(summarise, windowMs).unref()

  function summarise(): void {
    alike.clear()
    for (const { sink, fields } of summaries.take()) log.info({ component: 'summary', sink, ...fields }, 'since the last summary')
  }

  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      for (const end of endings) end()
      summarise()
    },
  }
}

function isOneTooMany({ sink, verdict, errorCode }: AttemptMessage, alike: Map<string, number>): boolean {
  if (verdict !== 'retry') return false
  const kind = `${sink} ${errorCode}`
  const count = (alike.get(kind) ?? 0) + 1
  alike.set(kind, count)
  return count > mostAlike
}

/** Lines for what lasts: written when it changes, not while it stays. */
function followChanges(log: Logger): (() => void)[] {
  let listener: string | undefined
  let up: boolean | undefined
  let stopping = false
  return [
    subscribe('postrider:listener', ({ state, reason }) => {
      if (state === listener) return
      listener = state
      const fields = { component: 'wake', state, reason }
      if (state === 'listening') log.info(fields, 'notifications arrive')
      else log[stopping ? 'debug' : 'warn'](fields, 'no notifications, polling instead')
    }),
    subscribe('postrider:database', (message) => {
      if (message.up === up) return
      up = message.up
      const fields = { component: 'database', up, ...(message.error !== null && { error: message.error }) }
      if (up) log.info(fields, 'the database answers')
      else log.warn(fields, 'the database does not answer')
    }),
    subscribe('postrider:anchored', ({ from, to, continued, ...counts }) => {
      const fields = { component: 'database', from, to }
      if (continued) log.warn(fields, 'the database has another identifier; its cursors hold')
      else log.warn({ ...fields, ...counts }, 'the database was restored from elsewhere: its cursors were anchored anew')
    }),
    subscribe('postrider:lane', ({ sink, lane, relay, change }) => {
      log[change === 'lost' ? 'warn' : 'debug']({ component: 'lanes', sink, lane, relay, change }, `lane ${change}`)
    }),
    subscribe('postrider:circuit', ({ sink, state, errorCode, error }) => {
      const fields = { component: 'circuit', sink, state, ...(errorCode !== null && { error_code: errorCode, error }) }
      if (state === 'open') log.warn(fields, 'the circuit is open: its events wait in the log')
      else log.info(fields, state === 'closed' ? 'the circuit is closed: events flow again' : 'one event is sent to see')
    }),
    subscribe('postrider:endpoint', ({ sink, error }) =>
      log.error({ component: 'endpoints', sink, err: error }, 'this endpoint cannot be used, and stands still'),
    ),
    subscribe('postrider:fault', ({ error }) =>
      log.error({ component: 'relay', err: error }, 'a fault of the relay; it tries again'),
    ),
    subscribe('postrider:chore', ({ chore, result, detail, loss }) => {
      const level = loss ? 'error' : result === 'failed' ? 'warn' : result === 'done' ? 'info' : 'debug'
      if (detail !== null) log[level]({ component: 'chores', chore, result }, detail)
    }),
    subscribe('postrider:relay', ({ relay, state }) => {
      stopping = state !== 'started'
      log.info({ component: 'relay', relay, state }, `relay ${state}`)
    }),
  ]
}
