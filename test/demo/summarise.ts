import { fold, paint } from './draw.ts'
import type { Result } from './play.ts'

/** True when every promise was kept. */
export function isProven({ lost, phantom, outOfOrder, badSignatures }: Result): boolean {
  return lost + phantom + outOfOrder + badSignatures === 0
}

/** What the run has shown, in words. */
export function summarise(result: Result, { columns, colours }: { readonly columns: number; readonly colours: boolean }): string {
  const { committed, rolledBack, duplicates, lost, phantom, outOfOrder, badSignatures, p50Ms, p99Ms } = result
  const width = Math.min(100, columns) - 6
  const tone = (name: Parameters<typeof paint>[0], text: string): string => (colours ? paint(name, text) : text)
  const text = (words: string, name: Parameters<typeof paint>[0] = 'plain'): string[] =>
    fold(words, width).map((line) => `  ${tone(name, line)}`)
  const promise = (kept: boolean, yes: string, no: string): string[] => {
    const [first = '', ...rest] = fold(kept ? yes : no, width - 2)
    const name = kept ? 'plain' : 'bad'
    return [
      `  ${tone(kept ? 'good' : 'bad', kept ? '✓' : '✗')} ${tone(name, first)}`,
      ...rest.map((line) => `    ${tone(name, line)}`),
    ]
  }
  return [
    '',
    ...text(isProven(result) ? 'What this has shown' : 'A promise was broken', 'strong'),
    '',
    ...promise(
      lost === 0,
      `${figure(committed)} events were committed, and every one has arrived`,
      `lost: ${figure(lost)} of ${figure(committed)} committed events`,
    ),
    ...promise(
      phantom === 0,
      `${figure(rolledBack)} events were rolled back, and none of them was ever seen`,
      `phantom: ${figure(phantom)} arrived and was never committed`,
    ),
    ...promise(
      outOfOrder === 0,
      'the events of each order arrived in the order in which they were written',
      `out of order: ${figure(outOfOrder)} arrived after a later event of the same order`,
    ),
    ...promise(
      badSignatures === 0,
      'every request was signed: the package standardwebhooks has verified each of them',
      `bad signatures: ${figure(badSignatures)} of all requests`,
    ),
    ...promise(true, `${figure(duplicates)} times an event came again, with the same id, and was taken once`, ''),
    '',
    ...text(
      'The relay was killed, the receiver too, and requests failed all along. ' +
        `From COMMIT to receipt, outages included: half within ${figure(p50Ms)} ms, 99 of 100 within ${figure(p99Ms)} ms.`,
    ),
    ...text('All this was compared with what the order service noted at each COMMIT, not with the outbox.'),
    '',
    ...text(
      'Look further: in test/demo, order-service.ts writes the events, relay.ts carries them, inbox.ts takes them.',
      'faint',
    ),
    ...text('migrations/0011_views.sql is what one can ask in SQL. Again, and more: npm run demo -- --events 5000', 'faint'),
    '',
  ].join('\n')
}

function figure(number: number): string {
  return number.toLocaleString('en-GB', { maximumFractionDigits: number < 100 ? 1 : 0 })
}
