import { request } from 'node:http'
import { generateSecret, sign } from '@postrider/webhook'
import { describe, expect, test } from 'vitest'
import { conductOf } from '../src/listen/misbehave.ts'
import { startReceiver, type Delivery, type Receiver, type ReceiverOptions } from '../src/listen/receive.ts'

const secret = generateSecret()
const none = { drop: 0, timeout: 0, fail: 0 }

interface Heard extends AsyncDisposable {
  readonly receiver: Receiver
  readonly deliveries: Delivery[]
}

async function receiver(changes: Partial<ReceiverOptions> = {}): Promise<Heard> {
  const deliveries: Delivery[] = []
  const started = await startReceiver({
    host: '127.0.0.1',
    port: 0,
    secrets: [secret],
    mischief: none,
    seed: 1,
    status: 500,
    delayMs: 0,
    retryAfterMs: null,
    onDelivery: (delivery) => deliveries.push(delivery),
    ...changes,
  })
  return { receiver: started, deliveries, [Symbol.asyncDispose]: () => started[Symbol.asyncDispose]() }
}

interface Sent {
  /** Or the error code of a connection that broke, or `silence` after 300 ms. */
  readonly status: number | string | undefined
  readonly retryAfter: string | undefined
}

/** One signed request, as the sink of this project makes it. */
async function send({ url }: Receiver, id: string, body = '{}', headers: Record<string, string> = {}): Promise<Sent> {
  const timestamp = Math.floor(Date.now() / 1_000)
  const signature = sign({ id, timestamp, body: Buffer.from(body) }, [secret])
  return await new Promise((resolve) => {
    const sending = request(url, {
      method: 'POST',
      agent: false,
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': signature,
        'postrider-event-type': 'a.b',
        'postrider-attempt': '1',
        ...headers,
      },
    })
    sending.on('response', (response) => {
      response.resume()
      resolve({ status: response.statusCode, retryAfter: response.headers['retry-after'] })
    })
    sending.on('error', (error: NodeJS.ErrnoException) => resolve({ status: error.code, retryAfter: undefined }))
    sending.setTimeout(300, () => {
      resolve({ status: 'silence', retryAfter: undefined })
      sending.destroy()
    })
    sending.end(body)
  })
}

describe('the receiver for local testing', () => {
  test('takes what is signed, and tells a repeat from a first arrival', async () => {
    await using heard = await receiver()
    expect(await send(heard.receiver, 'evt_1')).toMatchObject({ status: 200 })
    expect(await send(heard.receiver, 'evt_1')).toMatchObject({ status: 200 })
    expect(heard.deliveries).toMatchObject([
      { id: 'evt_1', type: 'a.b', attempt: 1, status: 200, result: 'taken', bytes: 2 },
      { id: 'evt_1', result: 'duplicate' },
    ])
    expect(heard.receiver.totals).toEqual({
      received: 2,
      unique: 1,
      duplicates: 1,
      badSignatures: 0,
      misbehaved: 0,
      outOfOrder: 0,
    })
  })

  test('answers 401 to a signature that is not right, and says why', async () => {
    await using heard = await receiver()
    expect(await send(heard.receiver, 'evt_1', '{}', { 'webhook-id': 'evt_2' })).toMatchObject({ status: 401 })
    expect(heard.deliveries).toMatchObject([{ result: 'bad signature', reason: 'no_match' }])
    expect(heard.receiver.totals).toMatchObject({ unique: 0, badSignatures: 1 })
  })

  test('takes anything when it was given no secret', async () => {
    await using heard = await receiver({ secrets: [] })
    expect(await send(heard.receiver, 'evt_1', '{}', { 'webhook-signature': 'nonsense' })).toMatchObject({ status: 200 })
  })

  test('notices an event that comes after a later one of its key, in every format that carries both', async () => {
    await using heard = await receiver()
    const structured = (sequence: number, key: string): string =>
      JSON.stringify({ sequence: String(sequence).padStart(20, '0'), partitionkey: key })
    const cloudevents = { 'content-type': 'application/cloudevents+json; charset=utf-8' }
    await send(heard.receiver, 'evt_2', structured(2, 'o-1'), cloudevents)
    await send(heard.receiver, 'evt_1', structured(1, 'o-1'), cloudevents)
    await send(heard.receiver, 'evt_3', structured(1, 'o-2'), cloudevents)
    const binary = (sequence: number): Record<string, string> => ({
      'content-type': 'text/plain',
      'ce-partitionkey': 'o%201',
      'ce-sequence': String(sequence).padStart(20, '0'),
    })
    await send(heard.receiver, 'evt_5', 'x', binary(10))
    await send(heard.receiver, 'evt_4', 'x', binary(9))
    expect(heard.deliveries.map(({ id, key, outOfOrder }) => [id, key, outOfOrder])).toEqual([
      ['evt_2', 'o-1', false],
      ['evt_1', 'o-1', true],
      ['evt_3', 'o-2', false],
      ['evt_5', 'o 1', false],
      ['evt_4', 'o 1', true],
    ])
    expect(heard.receiver.totals).toMatchObject({ outOfOrder: 2, unique: 5 })
  })

  test('fails with the status and the pause that was asked for, and takes the event when it comes again', async () => {
    await using heard = await receiver({ mischief: { ...none, fail: 0.5 }, status: 503, retryAfterMs: 1_500 })
    const answers: Sent[] = []
    while (answers.at(-1)?.status !== 200 || !answers.some(({ status }) => status === 503))
      answers.push(await send(heard.receiver, `evt_${answers.length}`))
    expect(answers.find(({ status }) => status === 503)).toEqual({ status: 503, retryAfter: '2' })
    const lost = heard.deliveries.find(({ result }) => result === 'fail')!
    while ((await send(heard.receiver, lost.id!)).status !== 200);
    expect(heard.deliveries.at(-1)).toMatchObject({ id: lost.id, result: 'taken' })
  })

  test('cuts connections, and leaves requests without an answer', async () => {
    await using dropping = await receiver({ mischief: { ...none, drop: 1 } })
    expect(await send(dropping.receiver, 'evt_1')).toMatchObject({ status: 'ECONNRESET' })
    await using silent = await receiver({ mischief: { ...none, timeout: 1 } })
    expect(await send(silent.receiver, 'evt_1')).toMatchObject({ status: 'silence' })
    expect([dropping.deliveries, silent.deliveries]).toMatchObject([
      [{ status: null, result: 'drop' }],
      [{ status: null, result: 'timeout' }],
    ])
  })

  test('waits before it answers', async () => {
    await using heard = await receiver({ delayMs: 80 })
    const started = performance.now()
    await send(heard.receiver, 'evt_1')
    expect(performance.now() - started).toBeGreaterThanOrEqual(79)
  })

  test('closes at once, also with a request that it will never answer', async () => {
    const heard = await receiver({ mischief: { ...none, timeout: 1 } })
    const sending = send(heard.receiver, 'evt_1')
    while (heard.deliveries.length === 0) await new Promise((resolve) => setImmediate(resolve))
    await heard[Symbol.asyncDispose]()
    expect((await sending).status).toBe('ECONNRESET')
  })
})

describe('misbehaviour', () => {
  const mischief = { drop: 0.05, timeout: 0.05, fail: 0.3 }
  const ids = Array.from({ length: 4_000 }, (_, index) => `evt_${index}`)

  test('is the same again with the same seed, in whatever order requests arrive, and another with another', () => {
    const forwards = ids.map((id) => conductOf(mischief, 7, id, 1))
    const backwards = ids.toReversed().map((id) => conductOf(mischief, 7, id, 1))
    expect(backwards.toReversed()).toEqual(forwards)
    expect(ids.map((id) => conductOf(mischief, 8, id, 1))).not.toEqual(forwards)
    expect(ids.map((id) => conductOf(mischief, 7, id, 2))).not.toEqual(forwards)
  })

  test('comes as often as it was asked for', () => {
    const counts = Object.groupBy(ids, (id) => conductOf(mischief, 7, id, 1))
    expect(counts.fail!.length / ids.length).toBeCloseTo(0.3, 1)
    expect(counts.drop!.length / ids.length).toBeCloseTo(0.05, 1)
    expect(counts.timeout!.length / ids.length).toBeCloseTo(0.05, 1)
    expect(new Set(ids.map((id) => conductOf(none, 7, id, 1)))).toEqual(new Set(['behave']))
    expect(new Set(ids.map((id) => conductOf({ ...none, fail: 1 }, 7, id, 1)))).toEqual(new Set(['fail']))
  })
})
