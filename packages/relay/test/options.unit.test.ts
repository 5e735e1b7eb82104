import { describe, expect, it } from 'vitest'
import { createRelay } from '@postrider/relay'
import { settingsOf } from '../src/options.ts'
import { shareOf } from '../src/leases.ts'
import { RecordingSink } from './support.ts'

const connectionString = 'postgres://127.0.0.1:1/none'

describe('options', () => {
  it('are refused with every problem at once', () => {
    const make = (): unknown =>
      createRelay({
        connectionString,
        schema: 'Bad Name',
        pollMs: 1,
        sinks: [
          { sink: new RecordingSink('twice'), lanes: 65, types: ['a..b'] },
          { sink: new RecordingSink('twice'), concurrency: 0.5, types: [] },
          { sink: new RecordingSink('UPPER'), retry: { delaysMs: [-1], jitter: 2, maxAgeMs: 0 } },
        ],
      })
    expect(make).toThrow(expect.objectContaining({ code: 'invalid_options' }))
    try {
      make()
    } catch (error) {
      const { problems } = (error as { details: { problems: string[] } }).details
      expect(problems.map((problem) => problem.split(':')[0]).toSorted()).toEqual(
        [
          'pollMs',
          'schema',
          'sinks[0].lanes',
          'sinks[0].name',
          'sinks[0].types',
          'sinks[1].concurrency',
          'sinks[1].name',
          'sinks[1].types',
          'sinks[2].name',
          'sinks[2].retry.delaysMs',
          'sinks[2].retry.jitter',
          'sinks[2].retry.maxAgeMs',
        ].filter((path) => path !== 'sinks[0].name'),
      )
    }
  })

  it('have the defaults that the documentation names', () => {
    const settings = settingsOf({ connectionString, sinks: [{ sink: new RecordingSink() }] })
    expect(settings).toMatchObject({
      schema: 'postrider',
      leaseMs: 10_000,
      pollMs: 1_000,
      pageSize: 500,
      pageMs: 1_000,
      slowMs: 1_000,
      drainMs: 25_000,
      choreMs: 10_000,
    })
    expect(settings.sinks[0]).toMatchObject({
      lanes: 4,
      concurrency: 32,
      ordering: 'key',
      onDead: 'block',
      audit: 'all',
      startFrom: 'beginning',
      types: null,
    })
  })
})

describe('lanes are shared', () => {
  const relays = (count: number, sinks: readonly string[]): { id: string; sinks: readonly string[] }[] =>
    Array.from({ length: count }, (_, nr) => ({ id: `relay-${nr}`, sinks }))

  it('so that every lane has one owner by right, and nobody has two more than another', () => {
    for (let lanes = 1; lanes <= 16; lanes++) {
      for (let count = 1; count <= 6; count++) {
        for (const sink of ['a', 'b', 'billing']) {
          const alive = relays(count, [sink])
          const shares = alive.map(({ id }) => shareOf({ name: sink, laneCount: lanes, family: null }, alive, id))
          expect(shares.reduce((sum, share) => sum + share, 0)).toBe(lanes)
          expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
        }
      }
    }
  })

  it('among those relays only that have the sink', () => {
    const alive = [
      { id: 'one', sinks: ['a'] },
      { id: 'two', sinks: ['b', 'a'] },
      { id: 'three', sinks: ['b'] },
    ]
    expect(alive.map(({ id }) => shareOf({ name: 'a', laneCount: 4, family: null }, alive, id))).toEqual([2, 2, 0])
    expect(alive.map(({ id }) => shareOf({ name: 'b', laneCount: 4, family: null }, alive, id))).toEqual([0, 2, 2])
  })

  it('for an endpoint, among those that have its sink', () => {
    const alive = [
      { id: 'one', sinks: ['hooks'] },
      { id: 'two', sinks: ['b'] },
    ]
    const endpoint = { name: 'hooks/acme', laneCount: 1, family: 'hooks' }
    expect(alive.map(({ id }) => shareOf(endpoint, alive, id))).toEqual([1, 0])
  })
})
