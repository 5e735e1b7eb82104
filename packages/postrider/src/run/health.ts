import { PostriderError } from '@postrider/schema'
import type { Settings } from '../config.ts'
import { exitCodes } from '../exit.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, say } from '../print.ts'

const deadlineMs = 3_000

export interface HealthFlags extends DatabaseFlags {
  readonly ready?: true
  readonly url?: string
}

export async function health(flags: HealthFlags): Promise<void> {
  const base = flags.url ?? (await configuredUrl(flags))
  const answer = await probe(new URL(flags.ready ? '/readyz' : '/livez', base))
  if (!answer.ok) process.exitCode = exitCodes.failed
  if (answer.body === null) say(answer.reason)
  else if (flags.json) print(answer.body)
  else say(`${flags.ready ? 'ready' : 'live'}: ${answer.ok ? 'yes' : 'no'} ${answer.body}`)
}

async function probe(
  url: URL,
): Promise<{ ok: boolean; body: string; reason?: never } | { ok: false; body: null; reason: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(deadlineMs), redirect: 'manual' })
    return { ok: response.ok, body: (await response.text()).trim() }
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    return {
      ok: false,
      body: null,
      reason: `no answer from ${url.origin}: ${cause instanceof Error ? cause.message : String(cause)}`,
    }
  }
}

/** A probe runs every few seconds: one that is told where to ask loads nothing to read a configuration with. */
async function configuredUrl(flags: HealthFlags): Promise<string> {
  const { loadHealth } = await import('../config/load.ts')
  return urlOf((await loadHealth(flags)).settings.health)
}

/** A server that listens on every address is asked on the loopback. */
function urlOf(health: Settings['health']): string {
  if (health === false) {
    throw new PostriderError('invalid_options', 'The configuration has health: false, so nobody answers; give --url')
  }
  const loopback = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[health.host] ?? health.host
  return `http://${loopback.includes(':') && !loopback.startsWith('[') ? `[${loopback}]` : loopback}:${health.port}`
}
