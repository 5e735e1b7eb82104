/** The relay of the demo, a process of its own so that it can be killed: `createRelay` with one webhook sink. */
import { createRelay, subscribe } from '@postrider/relay'
import { createWebhookSink } from '@postrider/webhook'
import type { RelayReport, RelaySettings } from './messages.ts'
import { obeyParent, tellParent } from './obey-parent.ts'

const parent = await obeyParent()
const settings = parent.settings as RelaySettings
const tell = (report: RelayReport): void => tellParent(report)
subscribe('postrider:lane', ({ change }) => tell({ is: 'lane', change }))
subscribe('postrider:attempt', ({ verdict }) => tell({ is: 'attempt', verdict }))
subscribe('postrider:fault', ({ error }) => tell({ is: 'fault', message: String(error) }))

const warehouse = createWebhookSink({
  name: settings.sink,
  url: settings.url,
  secrets: { current: settings.secret },
  trust: 'internal',
  allow: ['127.0.0.1'],
  timeouts: { totalMs: 1_000 },
  permanentStatuses: [422],
})

const relay = createRelay({
  connectionString: settings.connectionString,
  name: settings.name,
  leaseMs: settings.leaseMs,
  slowMs: 100,
  drainMs: 2_000,
  sinks: [
    {
      sink: warehouse,
      lanes: settings.lanes,
      // Minutes and hours in earnest; here it has to end soon.
      retry: { delaysMs: [100, 200, ...Array<number>(200).fill(300)], jitter: 0.2, maxAgeMs: 600_000 },
      circuit: { failures: 10, openMs: 200, mostMs: 500 },
    },
  ],
})

await relay.run(parent.leave)
