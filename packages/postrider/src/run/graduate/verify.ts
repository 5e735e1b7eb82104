import { isPostriderError } from '@postrider/schema'
import { actorOf } from '../../actor.ts'
import { exitCodes } from '../../exit.ts'
import { openGraduation } from '../../graduate/open.ts'
import { verify, type Finding, type Parity, type VerifyOptions } from '../../graduate/verify.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say, style } from '../../print.ts'
import { watch } from '../../watch.ts'

export interface VerifyFlags extends DatabaseFlags {
  readonly to?: string
  readonly sink?: string
  readonly from?: string
  readonly events?: number
  /** In ms; true: the default. */
  readonly watch?: number | true
  readonly deadline?: number
  readonly actor?: string
}

const watchMs = 3_600_000

export async function run(flags: VerifyFlags): Promise<void> {
  await using graduation = await openGraduation(flags.to, flags, 'graduate verify')
  const options: VerifyOptions = {
    toSink: graduation.target.name,
    actor: actorOf(flags),
    ...(flags.sink !== undefined && { sink: flags.sink }),
    ...(flags.events !== undefined && { most: flags.events }),
  }
  const compare = async (from: string | undefined): Promise<void> => {
    const parity = await verify({ ...options, ...(from !== undefined && { from: BigInt(from) }) }, graduation)
    if (flags.json) printJson(parity)
    else show(parity, graduation.target.name)
    if (!parity.equal) process.exitCode = exitCodes.checkFailed
  }
  if (flags.watch === undefined) return await compare(flags.from)
  let { from } = flags
  let differed = false
  const everyMs = flags.watch === true ? watchMs : flags.watch
  await watch(async () => {
    try {
      await compare(from)
      differed ||= process.exitCode === exitCodes.checkFailed
    } catch (error) {
      // Nothing new, or it lags: both may be otherwise the next time.
      if (!isPostriderError(error) || (error.code !== 'not_found' && error.code !== 'cutover_refused')) throw error
      say(error.message)
    }
    from = undefined
    return everyMs
  })
  if (differed) process.exitCode = exitCodes.checkFailed
}

function show(parity: Parity, toSink: string): void {
  const { events, equal, checksums, acknowledged, unsent, repeated, foreign, tookMs } = parity
  const count = (n: number): string => n.toLocaleString('en')
  const verdict = equal ? style('green', 'equal') : style('red', 'DIFFERENT')
  print(`${verdict}: ${count(events)} events at positions ${parity.from} to ${parity.to}, in ${(tookMs / 1_000).toFixed(1)} s`)
  print(`checksum of the log    ${checksums.log}`)
  print(`checksum of the topics ${checksums.stream}`)
  const findings: readonly (readonly [name: string, finding: Finding])[] = [
    ['missing', parity.missing],
    ['altered', parity.altered],
    ['out of order', parity.disordered],
    ['added', parity.added],
    ...(acknowledged === null
      ? []
      : ([
          ['not acknowledged by the other sink', acknowledged.missing],
          ['acknowledged out of order', acknowledged.disordered],
        ] as const)),
  ]
  for (const [name, { count: n, ids }] of findings) {
    if (n > 0) print(`${style('red', `${name}: ${count(n)}`)}  ${ids.join(' ')}${n > ids.length ? ' …' : ''}`)
  }
  if (repeated.count > 0) print(`more than once: ${count(repeated.count)}; consumers drop them by their ids`)
  if (unsent.count > 0) {
    const why = Object.entries(unsent.why).map(([word, n]) => `${count(n)} ${word}`)
    print(`not sent: ${count(unsent.count)} (${why.join(', ')})`)
  }
  if (foreign > 0) print(`records of others: ${count(foreign)}`)
  if (acknowledged !== null && !acknowledged.recorded)
    say('The audit of the other sink does not record everything, so nothing can be said of it.')
  if (parity.missing.count > 0) say(`Send what is missing once more: postrider graduate repair --to ${toSink}`)
}
