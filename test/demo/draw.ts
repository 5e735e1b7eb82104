import { styleText } from 'node:util'
import type { Happening, Score, Standing } from './score.ts'

/** Of the terminal, in characters. */
export interface Size {
  readonly columns: number
  readonly rows: number
}

type Tone = Happening['tone'] | 'faint' | 'strong' | 'warn'

const widest = 100
const margin = '  '
const blocks = '▁▂▃▄▅▆▇█'

/** The screen as lines, none wider than the terminal and fewer of them than it has rows. Pure. */
export function draw(score: Score, waiting: readonly number[], { columns, rows }: Size): string[] {
  const width = Math.max(20, Math.min(widest, columns) - 2 * margin.length)
  const lines = [
    '',
    spread(paint('strong', cut('Postrider', width)), time(score.elapsedMs), width, 'Postrider'.length),
    paint('faint', cut('What is committed arrives, signed and in order, however often things break.', width)),
    '',
    ...(width >= 72 ? columnsOf(score, width) : rowsOf(score, width)),
    '',
    bar('committed', score.committed, score.events, width),
    bar('delivered', score.delivered, score.events, width),
    sparkline('waiting', score.backlog, waiting, width),
    latency(score, width),
    '',
  ]
  const room = Math.max(1, rows - lines.length - 1)
  const told = score.happenings.flatMap((happening) => tell(happening, width)).slice(-room)
  return [...lines, ...told].slice(0, rows - 1).map((line) => (line === '' ? '' : margin + line))
}

/** A happening in words, folded to the width. */
export function tell({ atMs, text, tone }: Happening, width: number): string[] {
  const indent = 9
  const stamp = `${(atMs / 1000).toFixed(1)} s`.padStart(indent - 2)
  return fold(text, Math.max(10, width - indent)).map(
    (part, index) => `${paint('faint', index === 0 ? stamp : ' '.repeat(stamp.length))}  ${paint(tone, part)}`,
  )
}

export function fold(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map((each) => cut(each, width))
}

interface Part {
  readonly name: string
  readonly standing: Standing
  readonly does: string
  readonly counts: readonly (readonly [number: number, words: string, tone: Tone])[]
}

function partsOf(score: Score): Part[] {
  const { relay, receiver, service, trouble } = score
  return [
    {
      name: 'order service',
      standing: service,
      does: { none: 'not started', starting: 'starting', up: 'writing', killed: 'killed', done: 'has written all' }[service],
      counts: [
        [score.committed, 'events committed', 'plain'],
        [score.rolledBack, 'rolled back', 'plain'],
      ],
    },
    {
      name: `relay ${relay.number}`,
      standing: relay.standing,
      does: {
        none: 'not started',
        starting: 'waits for lanes',
        up: `carries ${relay.lanes} lanes`,
        killed: 'killed',
        done: 'stopped',
      }[relay.standing],
      counts: [
        [score.retries, 'retries', 'plain'],
        [trouble.dead, trouble.dead === 1 ? 'dead letter' : 'dead letters', trouble.dead > 0 ? 'warn' : 'plain'],
        [trouble.blocked, 'wait in line', trouble.blocked > 0 ? 'warn' : 'plain'],
      ],
    },
    {
      name: `receiver ${receiver.number}`,
      standing: receiver.standing,
      does: { none: 'not started', starting: 'starting', up: 'answers', killed: 'killed', done: 'stopped' }[receiver.standing],
      counts: [
        [score.delivered, 'events taken', 'plain'],
        [score.duplicates, 'duplicates', 'plain'],
        [score.badSignatures, 'bad signatures', score.badSignatures > 0 ? 'bad' : 'plain'],
      ],
    },
  ]
}

function columnsOf(score: Score, width: number): string[] {
  const parts = partsOf(score)
  const each = Math.floor(width / parts.length)
  const row = (cell: (part: Part) => readonly [string, Tone]): string =>
    parts
      .map((part) => {
        const [text, tone] = cell(part)
        return paint(tone, cut(text, each - 1)) + ' '.repeat(each - Math.min(text.length, each - 1))
      })
      .join('')
      .trimEnd()
  const count = (index: number): string =>
    row(({ counts }) => {
      const found = counts[index]
      return found === undefined ? ['', 'plain'] : [`${figure(found[0]).padStart(7)} ${found[1]}`, found[2]]
    })
  return [
    row(({ name }) => [name.toUpperCase(), 'strong']),
    row(({ standing, does }) => [`${mark(standing)} ${does}`, toneOf(standing)]),
    count(0),
    count(1),
    count(2),
  ]
}

function rowsOf(score: Score, width: number): string[] {
  return partsOf(score).flatMap(({ name, standing, does, counts }) => [
    paint(toneOf(standing), cut(`${mark(standing)} ${name}: ${does}`, width)),
    cut(`  ${counts.map(([number, words]) => `${figure(number)} ${words}`).join(', ')}`, width),
  ])
}

function mark(standing: Standing): string {
  return { none: '○', starting: '◌', up: '●', killed: '✗', done: '✓' }[standing]
}

function toneOf(standing: Standing): Tone {
  return ({ none: 'faint', starting: 'warn', up: 'good', killed: 'bad', done: 'good' } as const)[standing]
}

const labelWidth = 11

function bar(label: string, done: number, all: number, width: number): string {
  const figures = ` ${figure(done)} of ${figure(all)}`
  const room = Math.max(1, width - labelWidth - 20)
  const filled = Math.min(room, Math.floor((room * done) / all))
  return `${label.padEnd(labelWidth)}${paint('good', '━'.repeat(filled))}${paint('faint', '─'.repeat(room - filled))}${figures}`
}

function sparkline(label: string, now: number, history: readonly number[], width: number): string {
  const room = Math.max(1, width - labelWidth - 20)
  const shown = history.slice(-room)
  const most = Math.max(8, ...shown)
  const line = shown.map((value) => blocks[Math.min(blocks.length - 1, Math.ceil((value / most) * (blocks.length - 1)))]).join('')
  return `${label.padEnd(labelWidth)}${paint('warn', line)}${' '.repeat(room - shown.length)} ${figure(now)}`
}

function latency(score: Score, width: number): string {
  const { p50Ms, p99Ms } = score.latency
  if (p99Ms === 0) return 'latency'.padEnd(labelWidth)
  return cut(
    `${'latency'.padEnd(labelWidth)}p50 ${figure(p50Ms)} ms, p99 ${figure(p99Ms)} ms, from COMMIT to receipt, of the last 500`,
    width,
  )
}

function spread(left: string, right: string, width: number, leftLength: number): string {
  return `${left}${' '.repeat(Math.max(1, width - leftLength - right.length))}${right}`
}

function time(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

function figure(number: number): string {
  return number.toLocaleString('en-GB', { maximumFractionDigits: number < 100 ? 1 : 0 })
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}

export function paint(tone: Tone, text: string): string {
  if (tone === 'plain' || text === '') return text
  const format = { good: 'green', bad: 'red', warn: 'yellow', faint: 'dim', strong: 'bold' } as const
  // Only asked for a terminal; NO_COLOR is respected.
  return process.env['NO_COLOR'] ? text : styleText(format[tone], text, { validateStream: false })
}
