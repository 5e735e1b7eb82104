import { withMode } from './mode.ts'
import { plain, style } from './print.ts'
import { countedUpTo, type RelayStatus, type SinkStatus, type Status } from './status.ts'
import { renderTable, wordDuration } from './table.ts'

/** Sinks and relays as two tables; `most` is how many sinks are shown, those in trouble first when not all are. */
export function wordStatus({ sinks, relays }: Status, most: number = Infinity): string {
  const shown = sinks.length <= most ? sinks : sinks.toSorted((a, b) => troubleOf(b) - troubleOf(a)).slice(0, most)
  const more = sinks.length - shown.length
  return [
    wordSinks(shown),
    ...(more > 0 ? [style('dim', `… and ${more} more`)] : []),
    '',
    ...(relays.length > 0 ? [wordRelays(relays)] : []),
  ].join('\n')
}

/** What a person should do about it. */
export function advise({ sinks, relays }: Status): string[] {
  const paused = sinks.filter(({ state }) => state === 'paused' || state === 'disabled' || state === 'gone')
  return [
    ...(relays.some(({ alive }) => alive) ? [] : ['No relay is alive, so nothing is delivered. Start one: postrider start']),
    ...(paused.length > 0 ? [`To let a sink go on: postrider resume ${paused[0]?.name}`] : []),
    ...(sinks.some(({ dead }) => dead > 0) ? ['There are dead letters: postrider dead list'] : []),
  ]
}

/** Inactive ones first, then by what waits. */
function troubleOf({ state, dead, blocked, oldestPendingSeconds }: SinkStatus): number {
  return (state === 'active' ? 0 : 1e12) + (dead + blocked) * 1e3 + (oldestPendingSeconds ?? 0)
}

function wordSinks(sinks: readonly SinkStatus[]): string {
  return renderTable(sinks, [
    { title: 'sink', cell: ({ name, kind }) => withMode(name, kind) },
    { title: 'state', cell: wordState },
    { title: 'pending', align: 'right', cell: ({ pending, pendingIsAll }) => (pendingIsAll ? '' : '≥ ') + wordCount(pending) },
    {
      title: 'oldest',
      align: 'right',
      cell: ({ oldestPendingSeconds: age }) => (age === null ? '-' : wordDuration(age * 1_000)),
    },
    { title: 'scheduled', align: 'right', cell: ({ scheduled }) => wordCount(scheduled) },
    { title: 'retrying', align: 'right', cell: ({ retrying }) => wordCount(retrying) },
    { title: 'blocked', align: 'right', cell: ({ blocked }) => wordCount(blocked) },
    { title: 'dead', align: 'right', cell: ({ dead }) => (dead > 0 ? style('red', wordCount(dead)) : '0') },
    { title: 'sent/s', align: 'right', cell: ({ deliveredPerSecond }) => wordRate(deliveredPerSecond) },
    { title: 'failed/s', align: 'right', cell: ({ failedPerSecond }) => wordRate(failedPerSecond) },
    { title: 'lanes', cell: ({ lanes }) => wordLanes(lanes) },
  ])
}

function wordRelays(relays: readonly RelayStatus[]): string {
  return renderTable(relays, [
    { title: 'relay', cell: ({ name }) => name },
    { title: 'version', cell: ({ version }) => version },
    { title: 'up since', cell: ({ startedAt }) => startedAt.toISOString() },
    { title: 'seen', align: 'right', cell: ({ seenSecondsAgo }) => `${wordDuration(seenSecondsAgo * 1_000)} ago` },
    { title: '', cell: ({ alive }) => (alive ? style('green', 'alive') : style('red', 'gone')) },
  ])
}

/** `active`, `paused by ann until 08:30: their release`. */
export function wordState({ state, by, reason, until, quietUntil }: SinkStatus): string {
  if (state === 'active') {
    return quietUntil === null ? style('green', state) : style('yellow', `quiet until ${wordTime(quietUntil)}, as it asked`)
  }
  const words = [
    state,
    ...(by === null || by === 'postrider' ? [] : [`by ${by}`]),
    ...(until === null ? [] : [`until ${wordTime(until)}`]),
  ].join(' ')
  return style(
    state === 'gone' || state === 'disabled' ? 'red' : 'yellow',
    plain(reason === null || reason === '' ? words : `${words}: ${clip(reason)}`),
  )
}

/** Of today the time alone. */
function wordTime(time: Date): string {
  const iso = time.toISOString()
  return iso.slice(0, 10) === new Date().toISOString().slice(0, 10) ? `${iso.slice(11, 19)}Z` : `${iso.slice(0, 16)}Z`
}

function clip(text: string): string {
  return text.length > 50 ? `${text.slice(0, 49)}…` : text
}

export function wordCount(value: number): string {
  return value > countedUpTo ? `${countedUpTo.toLocaleString('en')}+` : value.toLocaleString('en')
}

function wordRate(perSecond: number): string {
  if (perSecond === 0) return '-'
  return perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString('en')
}

/** `host:1 0-3`, or `nobody 2`. */
export function wordLanes(lanes: SinkStatus['lanes']): string {
  const carriers = Map.groupBy(lanes, ({ relay }) => relay)
  return [...carriers]
    .map(([relay, carried]) => `${relay ?? style('yellow', 'nobody')} ${wordRanges(carried.map(({ lane }) => lane))}`)
    .join(', ')
}

/** `0-2+5`. */
function wordRanges(numbers: readonly number[]): string {
  const ranges: [number, number][] = []
  for (const number of numbers) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join('+')
}
