import { plain, style } from '../print.ts'
import type { Delivery } from './receive.ts'

/** `08:15:02.123  200  order.placed  0192…  attempt 2  key=o-1  taken`. */
export function wordDelivery(delivery: Delivery): string {
  const { time, status, type, id, attempt, key, outOfOrder } = delivery
  const parts = [
    time.toISOString().slice(11, 23),
    status === null ? '---' : style(status < 300 ? 'green' : 'red', String(status)),
    plain(type ?? '?'),
    plain(id ?? 'no id'),
    ...(attempt === null ? [] : [`attempt ${attempt}`]),
    ...(key === null ? [] : [`key=${plain(key)}`]),
    wordResult(delivery),
    ...(outOfOrder ? [style('red', 'out of order')] : []),
  ]
  return parts.join('  ')
}

function wordResult({ result, reason }: Delivery): string {
  switch (result) {
    case 'taken':
      return 'taken'
    case 'duplicate':
      return style('yellow', 'duplicate')
    case 'bad signature':
      return style('red', `bad signature (${reason})`)
    case 'too large':
      return style('red', 'too large')
    case 'fail':
      return style('yellow', 'failed on purpose')
    case 'timeout':
      return style('yellow', 'left without an answer')
    case 'drop':
      return style('yellow', 'connection cut')
  }
}
