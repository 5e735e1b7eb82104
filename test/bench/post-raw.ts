import { setTimeout as sleep } from 'node:timers/promises'
import { Pool, type Dispatcher } from 'undici'
import type { Figures } from './rounds.ts'

/**
 * Posts every body with so many requests in flight and nothing else: no log, no signature, no order, by the quickest way that
 * undici has. What it reaches is what a sink of webhooks could reach at most.
 */
export async function postRaw(url: string, bodies: readonly Buffer[], concurrency: number): Promise<Figures> {
  const { origin, pathname: path } = new URL(url)
  const pool = new Pool(origin, { connections: concurrency, pipelining: 1, allowH2: false })
  const headers = ['content-type', 'application/json', 'user-agent', 'bench']
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let next = 0
  let answered = 0
  const post = (): void => {
    const body = bodies[next++]
    if (body !== undefined) pool.dispatch({ method: 'POST', path, headers, body }, handler)
  }
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart() {},
    onResponseStart(_controller, status) {
      if (status !== 204) reject(new Error(`the receiver answered ${status}`))
    },
    onResponseData() {},
    onResponseEnd() {
      if (++answered === bodies.length) resolve()
      else post()
    },
    onResponseError: (_controller, error) => reject(error),
  }
  const cpu = process.cpuUsage()
  const began = performance.now()
  const late = new AbortController()
  try {
    for (let slot = 0; slot < concurrency; slot++) post()
    await Promise.race([promise, tooLate(600_000, late.signal)])
    const seconds = (performance.now() - began) / 1_000
    const { user, system } = process.cpuUsage(cpu)
    return { 'deliveries/s': bodies.length / seconds, 'relay µs CPU': (user + system) / bodies.length }
  } finally {
    late.abort()
    await pool.destroy()
  }
}

async function tooLate(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
  if (!signal.aborted) throw new Error(`not within ${ms} ms`)
}
