import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, it } from 'vitest'
import type { Endpoint, SinkFamily } from '@postrider/relay'
import { emit, failed, range, RecordingSink, run, until } from './support.ts'

describe('an operator whose transaction stays open', () => {
  it.each([
    ['resumes a sink from now on', `select postrider.resume('slow', 'none of it', 'infinity')`],
    ['pauses a sink', `select postrider.pause('slow', 'x')`],
  ])('and who %s, stops nothing of another sink', async (_, steer) => {
    await using db = await testDatabase()
    const client = await db.client()
    const operator = await db.client()
    const slow = new RecordingSink('slow')
    const other = new RecordingSink('other')
    await using _running = run(db.url, [{ sink: slow, lanes: 8 }, { sink: other }], { leaseMs: 1_000, connections: 4 })
    await until(
      async () => (await client.query('select 1 from postrider.lanes where relay is not null')).rows.length === 12,
      'carried',
    )
    if (steer.includes('resume')) await client.query(`update postrider.sinks set state = 'paused' where name = 'slow'`)
    await operator.query('begin')
    await operator.query(steer)
    const late: number[] = []
    for (let n = 1; n <= 60; n++) {
      const began = performance.now()
      await emit(client, `k${n % 20}`, n)
      await until(() => other.delivered.length >= n, `event ${n} arrived`, 8_000)
      late.push(performance.now() - began)
      await sleep(50)
    }
    expect(other.delivered.map(({ n }) => n)).toEqual(range(1, 60))
    expect(Math.max(...late)).toBeLessThan(900)
    await operator.query('commit')
    if (steer.includes('pause')) await client.query(`select postrider.resume('slow')`)
    await emit(client, 'last', 61)
    await until(() => slow.numbers().includes(61), 'the sink itself goes on')
  })
})

/** Endpoints whose destinations are told apart by their URLs. */
class Family implements SinkFamily {
  readonly name = 'hooks'
  readonly kind = 'recording'
  readonly sinks = new Map<string, RecordingSink>()
  prepare: (sink: RecordingSink) => void = () => undefined

  open({ name, settings }: Endpoint): RecordingSink {
    const sink = new RecordingSink(name)
    this.prepare(sink)
    this.sinks.set(String(settings['url']), sink)
    return sink
  }

  to(url: string): number[] {
    return this.sinks.get(url)?.numbers() ?? []
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const add = (name: string): string =>
  `select postrider.add_endpoint('hooks', '${name}', 'https://${name}.test/one', '{"current": ["env:SECRET"]}')`

describe('an endpoint', () => {
  it('is changed though a change that began later was committed first', async () => {
    await using db = await testDatabase()
    const [client, operator] = [await db.client(), await db.client()]
    const family = new Family()
    await using _ = run(db.url, [{ sink: family }], { leaseMs: 1_000 })
    await until(async () => (await client.query('select 1 from postrider.sinks')).rows.length === 1, 'the family is there')
    await client.query(`${add('a')}; ${add('b')}`)
    await until(() => family.sinks.size === 2, 'both are open')
    await operator.query('begin')
    await operator.query(`select postrider.change_endpoint('hooks/a', '{"url": "https://a.test/two"}')`)
    await client.query(`select postrider.change_endpoint('hooks/b', '{"url": "https://b.test/two"}')`)
    await until(() => family.sinks.has('https://b.test/two'), 'the second change is seen')
    await operator.query('commit')
    await until(() => family.sinks.has('https://a.test/two'), 'the first change is seen', 3_000)
    await emit(client, 'k', 1)
    await until(() => family.to('https://a.test/two').length === 1, 'it goes to the new address')
    expect(family.to('https://a.test/one')).toEqual([])
  })

  it('that was moved is tried at once, however long the old one had asked to be left alone', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const family = new Family()
    family.prepare = (sink) => {
      sink.answer = () =>
        family.sinks.size < 2
          ? { kind: 'throttled', error: { code: 'throttled', message: 'answered 429' }, afterMs: 3_600_000 }
          : { kind: 'delivered' }
    }
    await using _ = run(db.url, [{ sink: family }], { leaseMs: 1_000 })
    await until(async () => (await client.query('select 1 from postrider.sinks')).rows.length === 1, 'the family is there')
    await client.query(add('a'))
    await until(() => family.sinks.size === 1, 'it is open')
    await emit(client, 'k', 1)
    await until(
      async () => (await client.query('select 1 from postrider.circuits where quiet_until is not null')).rows.length === 1,
      'it is quiet',
    )
    await sleep(500)
    await client.query(`select postrider.change_endpoint('hooks/a', '{"url": "https://a.test/two"}')`)
    await until(() => family.to('https://a.test/two').length === 1, 'it arrived', 3_000)
  })
})

describe('a sink that skips what it cannot deliver', () => {
  it('has skipped nothing that was spared', async () => {
    await using db = await testDatabase()
    const client = await db.client()
    const sink = new RecordingSink()
    let down = true
    sink.answer = () => (down ? failed : { kind: 'delivered' })
    await using _ = run(db.url, [
      {
        sink,
        onDead: 'skip',
        retry: { delaysMs: [], jitter: 0, maxAgeMs: 60_000 },
        circuit: { failures: 3, openMs: 500, mostMs: 500 },
      },
    ])
    const ids = await Promise.all(range(1, 3).map((n) => emit(client, null, n)))
    await until(
      async () => (await client.query(`select 1 from postrider.circuits where state = 'open'`)).rows.length === 1,
      'it is open',
    )
    down = false
    await until(() => sink.delivered.length === ids.length, 'all arrived')
    expect((await client.query(`select 1 from postrider.attempts where outcome = 'discarded'`)).rows).toEqual([])
  })
})

it('a sink that was removed just as its relay came is put again, and gets what comes', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const sink = new RecordingSink('late')
  await using _running = run(db.url, [{ sink, startFrom: 'beginning' }], { leaseMs: 1_000 })
  await emit(client, 'k', 1)
  await until(() => sink.numbers().includes(1), 'the first')
  await client.query(`select postrider.drop_sink('late', 'a race', 'test')`)
  await emit(client, 'k', 2)
  await until(() => sink.numbers().includes(2), 'the second')
})
