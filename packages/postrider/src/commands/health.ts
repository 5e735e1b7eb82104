import { PostriderError } from '@postrider/schema'
import type { Command } from 'commander'
import type { Settings } from '../config.ts'
import { loadHealth } from '../config/load.ts'
import { exitCodes } from '../exit.ts'
import { withConfig, type DatabaseFlags } from '../options.ts'
import { print, say } from '../print.ts'

const deadlineMs = 3_000

interface HealthFlags extends DatabaseFlags {
  readonly ready?: true
  readonly url?: string
}

export function addHealth(program: Command): void {
  withConfig(program.command('health'))
    .description('ask the relay of this machine how it is; exits with 0 or 1, for containers without a shell')
    .option('--ready', 'whether it can work, rather than whether it lives')
    .option('--url <url>', 'where its probes answer (default: health of the configuration)')
    .action(health)
}

async function health(flags: HealthFlags): Promise<void> {
  const base = flags.url ?? urlOf((await loadHealth(flags)).settings.health)
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

/** A server that listens on every address is asked on the loopback. */
function urlOf(health: Settings['health']): string {
  if (health === false) {
    throw new PostriderError('invalid_options', 'The configuration has health: false, so nobody answers; give --url')
  }
  const loopback = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[health.host] ?? health.host
  return `http://${loopback.includes(':') && !loopback.startsWith('[') ? `[${loopback}]` : loopback}:${health.port}`
}
