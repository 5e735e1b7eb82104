import { openGraphileWorker } from './graphile-worker.ts'
import { openPgBoss } from './pg-boss.ts'
import { openPgTransactionalOutbox } from './pg-transactional-outbox.ts'
import { openPgmq } from './pgmq.ts'
import { openPollingLoop } from './polling-loop.ts'
import { openPostrider } from './postrider.ts'
import type { OpenSystem } from './system.ts'

export const systems = {
  postrider: openPostrider,
  'graphile-worker': openGraphileWorker,
  'pg-boss': openPgBoss,
  pgmq: openPgmq,
  'pg-transactional-outbox': openPgTransactionalOutbox,
  'polling loop': openPollingLoop,
} as const satisfies Readonly<Record<string, OpenSystem>>

export type SystemName = keyof typeof systems

export const systemNames = Object.keys(systems) as readonly SystemName[]
