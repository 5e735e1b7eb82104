import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Keeper } from '../../kafka/real/keeper.ts'

/** The program as it is installed; in a checkout it runs its sources. */
const bin = join(import.meta.dirname, '..', '..', '..', 'packages', 'postrider', 'bin', 'postrider.js')
const commandMs = 60_000
const stopMs = 30_000
let commands = 0

/**
 * Runs `postrider …` in the directory of a keeper, where its configuration is, as a user would, but for `--json`; resolves with
 * what it printed.
 * @throws with the words of the program when its exit code is not 0; the reason of the signal
 */
export async function runPostrider(command: string, keeper: Keeper, signal: AbortSignal): Promise<unknown> {
  const output = join(keeper.directory, `command-${++commands}.log`)
  const running = await keeper.start(process.execPath, [bin, ...words(command), '--json'], output)
  const outcome = await Promise.race([running.end(), sleep(commandMs, 'it took too long', { ref: false, signal })])
  const text = (await readFile(output, 'utf8')).trim()
  if (outcome !== 'exit code 0') throw new Error(`postrider ${command} failed (${outcome}): ${text}`)
  return JSON.parse(text.split('\n').at(-1) ?? '') as unknown
}

/** As a shell would: quotes hold together, and go. */
function words(command: string): string[] {
  return (command.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ''))
}

/** A relay that runs. */
export interface RunningRelay {
  /** @throws with its log when it has ended by itself */
  requireAlive(): Promise<void>
  /** SIGTERM, and waits until it is gone. */
  stop(): Promise<void>
}

/** `postrider start` in the directory of a keeper, which ends it with this process whatever happens. */
export async function startRelay(keeper: Keeper, nth: number): Promise<RunningRelay> {
  const log = join(keeper.directory, `relay-${nth}.log`)
  const relay = await keeper.start(process.execPath, [bin, 'start'], log)
  let wanted = true
  return {
    async requireAlive() {
      if (!wanted || relay.outcome === undefined) return
      throw new Error(`the relay ended by itself (${relay.outcome}): ${(await readFile(log, 'utf8')).slice(-2_000)}`)
    },
    async stop() {
      wanted = false
      if (relay.outcome !== undefined) return
      process.kill(relay.pid, 'SIGTERM')
      const late = sleep(stopMs, 'late', { ref: false })
      if ((await Promise.race([relay.end(), late])) === 'late') process.kill(relay.pid, 'SIGKILL')
    },
  }
}
