import { style } from '../print.ts'
import { wordBytes } from '../table.ts'
import type { Assessment, Sign } from './assess.ts'
import { signsToGraduate, type SignName } from './thresholds.ts'

/** An assessment in some lines: the figures, what speaks for Kafka with what is cheaper, and the verdict. */
export function wordAssessment({
  kind,
  peakPerSecond,
  consumers,
  averageBytes,
  share,
  signs,
  notes,
  verdict,
  countersign,
}: Assessment): string {
  const title = kind === '*' ? 'the whole log' : `${kind}.**`
  const facts = [
    `${consumers} ${consumers === 1 ? 'consumer' : 'consumers'}`,
    `${peakPerSecond === null ? '?' : perSecond(peakPerSecond)} events/s in the busiest minute`,
    `${wordBytes(averageBytes)} each`,
    ...(kind === '*' ? [] : [`${Math.round(share * 100)} % of the log`]),
  ]
  const loud = signs.filter(({ says }) => says === 'graduate' || says === 'prepare')
  const stays = signs.filter(({ says }) => says === 'stay')
  const unknown = signs.filter(({ says }) => says === 'unknown')
  const graduating = loud.filter(({ says }) => says === 'graduate').length
  return [
    `${style('bold', title)}  ${facts.join(' · ')}`,
    ...loud.map(
      (sign) =>
        `  ${(sign.says === 'graduate' ? 'GRADUATE' : 'prepare').padEnd(9)} ${wordSign(sign)}   cheaper first: ${sign.cheaper}`,
    ),
    ...(stays.length === 0 ? [] : [`  ${'stay'.padEnd(9)} ${stays.map(wordFigure).join(', ')}`]),
    ...unknown.map((sign) => `  ${'unknown'.padEnd(9)} ${names[sign.sign]}: ${sign.why}`),
    ...notes.map((note) => `  ${'note'.padEnd(9)} ${note}`),
    `  verdict: ${style('bold', verdict.toUpperCase())}${countersign === null ? ` (${graduating} of ${signsToGraduate} signs)` : `. ${countersign}`}`,
  ].join('\n')
}

const names: Readonly<Record<SignName, string>> = {
  consumers: 'consumers',
  fanOut: 'deliveries for each event',
  throughput: 'busiest minute of the capacity',
  writes: 'rows written of the whole database',
  kept: 'bytes kept',
  replays: 'events replayed of those written',
  slow: 'attempts asked to wait',
}

function wordSign(sign: Sign): string {
  const { prepare, graduate } = sign.threshold
  return `${wordFigure(sign)} (prepare from ${wordValue(sign.sign, prepare)}, graduate from ${wordValue(sign.sign, graduate)})`
}

function wordFigure({ sign, value }: Sign): string {
  return `${names[sign]} ${wordValue(sign, value ?? 0)}`
}

function wordValue(sign: SignName, value: number): string {
  if (sign === 'kept') return wordBytes(value)
  if (sign === 'consumers') return String(value)
  if (sign === 'fanOut') return value.toFixed(1)
  return `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`
}

function perSecond(value: number): string {
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en')
}
