import { Pool } from 'undici'
import type { Figures } from './rounds.ts'

/** Posts every body by `Pool.request`, as a service does that writes its own client, with so many requests in flight. */
export async function requestRaw(url: string, bodies: readonly Buffer[], concurrency: number): Promise<Figures> {
  const { origin, pathname: path } = new URL(url)
  const pool = new Pool(origin, { connections: concurrency, pipelining: 1, allowH2: false })
  const headers = { 'content-type': 'application/json', 'user-agent': 'bench' }
  let next = 0
  const slot = async (): Promise<void> => {
    for (let body = bodies[next++]; body !== undefined; body = bodies[next++]) {
      const answer = await pool.request({ method: 'POST', path, headers, body })
      await answer.body.dump()
      if (answer.statusCode !== 204) throw new Error(`the receiver answered ${answer.statusCode}`)
    }
  }
  const begun = performance.now()
  try {
    await Promise.all(Array.from({ length: concurrency }, slot))
    return { 'deliveries/s': (1_000 * bodies.length) / (performance.now() - begun) }
  } finally {
    await pool.destroy()
  }
}
