import type { RelayOptions, SinkOptions } from '@postrider/relay'
import type { BenchOptions } from './bench.ts'
import type { Given } from './given.ts'

/** Options that most benchmarks have: how the relay is set. The defaults are those of the product. */
export const relayOptions: BenchOptions = {
  lanes: { type: 'string', default: '4', about: 'ordered shares of the stream' },
  concurrency: { type: 'string', default: '32', about: 'deliveries in flight at once' },
  'page-size': { type: 'string', default: '500', about: 'events that are read and settled together' },
  connections: { type: 'string', default: '8', about: 'connections of a relay to PostgreSQL' },
}

export function relayOf(given: Given): Pick<RelayOptions, 'pageSize' | 'connections'> {
  return { pageSize: given.number('page-size'), connections: given.number('connections') }
}

export function sinkOf(given: Given): Pick<SinkOptions, 'lanes' | 'concurrency'> {
  return { lanes: given.number('lanes'), concurrency: given.number('concurrency') }
}
