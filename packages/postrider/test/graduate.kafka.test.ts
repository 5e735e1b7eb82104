/** The way of a consumer from a webhook to Kafka and back, typed as an operator types it, against a real broker. */
import { randomBytes } from 'node:crypto'
import { openKafkaAdmin, openKafkaDriver, type KafkaAdmin } from '@postrider/kafka'
import { sharedKafka } from '@postrider/test/kafka'
import { testDatabase } from '@postrider/test/postgres'
import { generateSecret } from '@postrider/webhook'
import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { startReceiver, type Delivery } from '../src/listen/receive.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram, startProgram, type Ended, type Program } from './program.ts'

const { kafka, reason } = sharedKafka()

interface Shop extends AsyncDisposable {
  readonly client: pg.Client
  readonly admin: KafkaAdmin
  readonly topic: string
  readonly group: string
  /** Ids that the webhook has taken. */
  readonly taken: () => ReadonlySet<string>
  run(...args: string[]): Promise<Ended>
  start(...args: string[]): Program
  relay(): Promise<Program>
  emit(count: number): Promise<readonly string[]>
  /** Ids in the topic, from offsets on. */
  streamed(from?: ReadonlyMap<number, bigint>): Promise<readonly string[]>
  /** The group has read everything. */
  consume(): Promise<void>
  settled(): Promise<void>
}

/** A shop with a webhook sink `billing` and a Kafka sink `main-kafka`, in a topic and a group of its own. */
async function openShop(extra: object = {}): Promise<Shop> {
  const stack = new AsyncDisposableStack()
  const db = stack.use(await testDatabase())
  const directory = stack.use(await temporaryDirectory())
  const prefix = `shop-${randomBytes(4).toString('hex')}`
  const topic = `${prefix}.order`
  const group = `${prefix}-billing`
  const brokers = kafka?.bootstrap ?? []
  const admin = stack.use(await openKafkaAdmin({ brokers }))
  const driver = stack.use(await openKafkaDriver({ brokers }))
  stack.defer(() => admin.deleteTopic(topic).catch(() => undefined))
  const deliveries: Delivery[] = []
  const secret = generateSecret()
  const receiver = await startReceiver({
    host: '127.0.0.1',
    port: 0,
    secrets: [secret],
    seed: 1,
    status: 500,
    delayMs: 0,
    retryAfterMs: null,
    mischief: { drop: 0, timeout: 0, fail: 0 },
    onDelivery: (delivery) => deliveries.push(delivery),
  })
  stack.defer(() => receiver[Symbol.asyncDispose]())
  await directory.write('postrider.config.json', {
    health: { port: 0 },
    sinks: {
      billing: {
        kind: 'webhook',
        url: receiver.url,
        trust: 'internal',
        allow: ['127.0.0.1'],
        secrets: { current: '${env:SECRET}' },
        types: ['order.*'],
      },
      'main-kafka': { kind: 'kafka', mode: 'shadow', brokers, prefix, source: 'shop/orders', types: ['order.*'], ...extra },
    },
  })
  const options = {
    directory: directory.path,
    env: { POSTRIDER_DATABASE_URL: db.url, SECRET: secret, POSTRIDER_ACTOR: 'ann' },
  }
  const client = await db.client()
  const timely = (): AbortSignal => AbortSignal.timeout(15_000)
  return {
    client,
    admin,
    topic,
    group,
    taken: () => new Set(deliveries.flatMap(({ status, id }) => (status === 200 && id !== null ? [id] : []))),
    run: (...args) => runProgram(args, options),
    start: (...args) => stack.use(startProgram(args, options)),
    async relay() {
      const program = stack.use(startProgram(['start'], options))
      await program.wrote('relay started')
      return program
    },
    async emit(count) {
      const { rows } = await client.query<{ id: string }>(
        `select postrider.emit(jsonb_agg(jsonb_build_object('type', 'order.placed', 'key', 'o-' || n % 7, 'payload', jsonb_build_object('n', n)) order by n)) as id
         from generate_series(1, $1::int) as n`,
        [count],
      )
      return rows.map(({ id }) => id)
    },
    async streamed(from = new Map()) {
      const ids: string[] = []
      for (const [partition, { first, next }] of await driver.bounds(topic, timely())) {
        for await (const { headers } of driver.read(topic, partition, from.get(partition) ?? first, next, timely())) {
          ids.push(headers.get('ce_id')?.toString() ?? '')
        }
      }
      return ids
    },
    async consume() {
      const bounds = await driver.bounds(topic, timely())
      await admin.setGroupOffsets(
        group,
        [...bounds].map(([partition, { next }]) => ({ topic, partition, offset: next })),
      )
    },
    async settled() {
      await expect
        .poll(async () => (await client.query('select from postrider.backlog where pending + retrying + blocked > 0')).rowCount, {
          timeout: 15_000,
          interval: 50,
        })
        .toBe(0)
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const json = (ended: Ended): unknown => JSON.parse(ended.stdout)
const well = (ended: Ended): Ended => {
  expect(ended.code, ended.stdout + ended.stderr).toBe(0)
  return ended
}

interface Steps {
  readonly steps: readonly {
    readonly sink: string
    readonly stage: string
    readonly consumer: string | null
    readonly behind: string | null
    readonly gates: readonly { readonly gate: string; readonly open: boolean }[]
  }[]
}

describe.skipIf(kafka === null)(`postrider with a Kafka (${reason})`, () => {
  test('plans topics without making them, makes what is missing, and leaves what is there', async () => {
    await using shop = await openShop()
    await shop.emit(30)
    const flags = ['--partitions', '3', '--replication', '1', '--set', 'retention.ms=86400000']
    expect(json(well(await shop.run('kafka', 'topics', 'plan', ...flags, '--json')))).toEqual({
      topics: [{ name: shop.topic, types: ['order.placed'], events: 30, there: null }],
    })
    expect(await shop.admin.describeTopic(shop.topic)).toBeNull()
    const asked = await shop.run('kafka', 'topics', 'apply', ...flags)
    expect([asked.code, await shop.admin.describeTopic(shop.topic)]).toEqual([6, null])

    expect(json(well(await shop.run('kafka', 'topics', 'apply', ...flags, '--yes', '--json')))).toMatchObject({
      created: [shop.topic],
    })
    const made = await shop.admin.describeTopic(shop.topic)
    expect([made?.partitions.length, made?.configs.get('retention.ms')]).toEqual([3, '86400000'])
    const again = await shop.run('kafka', 'topics', 'apply', '--partitions', '9', '--yes')
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('Nothing was missing') as string])
    expect((await shop.admin.describeTopic(shop.topic))?.partitions).toHaveLength(3)
  })

  test('checks the cluster with exit 4 while a topic is missing, and tells where the keys of the log would go', async () => {
    await using shop = await openShop()
    await shop.emit(70)
    const missing = await shop.run('kafka', 'check', '--json')
    expect(missing.code).toBe(4)
    const { checks } = json(missing) as { checks: { check: string; subject: string | null; level: string }[] }
    expect(checks.filter(({ level }) => level === 'fail')).toMatchObject([{ check: 'topic', subject: shop.topic }])
    well(await shop.run('kafka', 'topics', 'apply', '--partitions', '3', '--yes'))
    const good = well(await shop.run('kafka', 'check', 'main-kafka', '--canary', shop.topic))
    expect(good.stdout).toMatch(new RegExp(`ok {4}canary of ${shop.topic} .*read back`))

    const { topics } = json(
      well(await shop.run('kafka', 'check', '--simulate', '1h', '--partitions', '2', '--partitions', '5', '--json')),
    ) as {
      topics: { topic: string; events: number; simulations: { partitions: number; shares: { records: number }[] }[] }[]
    }
    expect(topics).toMatchObject([{ topic: shop.topic, events: 70, simulations: [{ partitions: 2 }, { partitions: 5 }] }])
    for (const { shares } of topics.at(0)!.simulations) expect(shares.reduce((sum, { records }) => sum + records, 0)).toBe(70)
    const shown = well(await shop.run('kafka', 'check', '--simulate', '1h'))
    expect(shown.stdout).toMatch(/^\s+6\s+0\s+\d+\s+\d+\s+[\d.]+ k?B\s+[\d.]+ %\s+[\d.]+×$/m)
    expect((await shop.run('kafka', 'check', '--partitions', '6')).code).toBe(2)
  })

  test('moves a consumer there and back: refused until proven, and then every event by one of both', async () => {
    await using shop = await openShop()
    well(await shop.run('kafka', 'topics', 'apply', '--partitions', '3', '--yes'))
    const before = await shop.emit(50)
    const plan = json(well(await shop.run('graduate', 'plan', '--json'))) as {
      running: boolean
      events: number
      candidates: string[]
      topics: object[]
    }
    expect(plan).toMatchObject({ running: false, events: 50, topics: [{ name: shop.topic, exists: true, losesOldest: false }] })
    await shop.relay()
    await shop.settled()
    expect(new Set(await shop.streamed())).toEqual(new Set(before))
    expect(json(well(await shop.run('sinks', 'list', '--json'))) as object[]).toMatchObject([
      { name: 'billing', mode: 'live' },
      { name: 'main-kafka', kind: 'kafka-shadow', mode: 'shadow' },
    ])
    expect((await shop.run('status')).stdout).toContain('main-kafka (shadow)')

    // Nothing is compared, and nobody knows the group.
    const move = ['graduate', 'cutover', '--sink', 'billing', '--type', 'order.*', '--consumer', shop.group, '--yes', '--json']
    const early = await shop.run(...move)
    expect(early.code).toBe(4)
    expect(early.stderr).toContain('verified: main-kafka has never been compared with the log')
    expect(early.stderr).toContain(`group: the cluster knows no group ${shop.group}`)
    expect((await shop.run(...move, '--force')).code).toBe(2)
    expect((await shop.client.query('select from postrider.cutovers')).rowCount).toBe(0)
    const stages = async (): Promise<Steps['steps']> =>
      (json(well(await shop.run('graduate', 'status', '--json'))) as Steps).steps
    expect(await stages()).toMatchObject([{ sink: 'billing', stage: 'shadow', consumer: null }])

    const parity = json(well(await shop.run('graduate', 'verify', '--sink', 'billing', '--json'))) as object
    expect(parity).toMatchObject({
      equal: true,
      events: 50,
      missing: { count: 0 },
      acknowledged: { acknowledged: 50, equal: true },
    })
    expect((await shop.run('graduate', 'verify', '--sink', 'billing')).code).toBe(3)
    expect(await stages()).toMatchObject([{ sink: 'billing', stage: 'proven' }])
    const few = await shop.run(...move, '--new-group', '--min-events', '1000')
    expect([few.code, few.stderr]).toEqual([4, expect.stringContaining('50 events were compared') as string])

    const cutover = json(well(await shop.run(...move, '--new-group', '--reason', 'go'))) as {
      id: string
      offsets: Record<string, Record<string, string>>
    }
    const offsets = await shop.admin.groupOffsets(shop.group, shop.topic)
    expect(Object.fromEntries([...offsets].map(([partition, offset]) => [String(partition), String(offset)]))).toEqual(
      cutover.offsets[shop.topic],
    )
    const moved = await shop.emit(20)
    await shop.settled()
    expect(shop.taken()).toEqual(new Set(before))
    expect(new Set(await shop.streamed(offsets))).toEqual(new Set(moved))
    expect(await stages()).toMatchObject([{ sink: 'billing', stage: 'kafka', consumer: shop.group, behind: '20' }])

    await shop.consume()
    const unread = await shop.emit(5)
    await shop.settled()
    const back = ['graduate', 'rollback', cutover.id, '--reason', 'to see', '--yes', '--json']
    expect(json(well(await shop.run(...back)))).toMatchObject({ givenBack: 5 })
    await expect.poll(() => shop.taken(), { timeout: 15_000 }).toEqual(new Set([...before, ...unread]))
    expect((await shop.run(...back)).code).toBe(4)

    // Once more, past a closed gate, and for good.
    const forced = well(await shop.run(...move, '--min-events', '1000000', '--force', '--reason', 'release'))
    expect(forced.stderr).toContain('past verified')
    const second = json(forced) as { id: string }
    expect(json(well(await shop.run('graduate', 'finish', second.id, '--yes', '--json')))).toMatchObject({ state: 'finished' })
    expect((await shop.run('graduate', 'rollback', second.id, '--reason', 'late', '--yes')).code).toBe(4)
    const { rows } = await shop.client.query(
      `select action, actor, reason from postrider.actions where action like 'cutover%' order by id`,
    )
    expect(rows).toEqual([
      { action: 'cutover_begun', actor: 'ann', reason: 'go' },
      { action: 'cutover_done', actor: 'ann', reason: null },
      { action: 'cutover_rolled_back', actor: 'ann', reason: 'to see' },
      { action: 'cutover_begun', actor: 'ann', reason: 'forced past verified: release' },
      { action: 'cutover_done', actor: 'ann', reason: null },
      { action: 'cutover_finished', actor: 'ann', reason: null },
    ])
  }, 120_000)

  test('finds records that are lost, sends them once more, and goes on when a later comparison is equal', async () => {
    await using shop = await openShop()
    well(await shop.run('kafka', 'topics', 'apply', '--partitions', '1', '--yes'))
    const ids = await shop.emit(10)
    await shop.relay()
    await shop.settled()
    // A topic that was made anew has lost what it had.
    await shop.admin.deleteTopic(shop.topic)
    await expect.poll(() => shop.admin.describeTopic(shop.topic), { timeout: 15_000 }).toBeNull()
    well(await shop.run('kafka', 'topics', 'apply', '--partitions', '1', '--yes'))

    const found = await shop.run('graduate', 'verify', '--json')
    expect([found.code, (json(found) as { missing: object }).missing]).toEqual([4, { count: 10, ids: [...ids] }])
    const move = [
      'graduate',
      'cutover',
      '--sink',
      'billing',
      '--type',
      'order.*',
      '--consumer',
      shop.group,
      '--new-group',
      '--yes',
    ]
    expect((await shop.run(...move)).stderr).toContain('verified: a comparison has found differences (positions 1 to 11)')
    well(await shop.run('graduate', 'repair', '--reason', 'lost', '--wait', '--yes'))
    await expect.poll(() => shop.streamed(), { timeout: 15_000 }).toHaveLength(10)
    const mended = await shop.run('graduate', 'verify', '--from', '1')
    expect([mended.code, mended.stdout]).toEqual([0, expect.stringMatching(/^equal: 10 events/) as string])
    well(await shop.run(...move))

    // Watched, it compares what has come each time, and says when there is nothing.
    const watching = shop.start('graduate', 'verify', '--watch', '300ms')
    await watching.wrote('nothing was committed since the last comparison')
    await shop.emit(3)
    await watching.wrote(/^equal: 3 events/m)
    watching.kill('SIGINT')
    expect((await watching.ended).code).toBe(130)
  }, 90_000)
})
