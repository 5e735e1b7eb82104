import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Discipline, Emitted, Receipt } from './history.ts'
import { broken, judge, promises, type Verdict } from './judge.ts'
import { digest, payloadIn, payloadOf } from './payload.ts'

const event = (id: string, more: Partial<Emitted> = {}): Emitted => ({
  id,
  key: 'k',
  discipline: 'row',
  pad: 0,
  dueAt: null,
  began: 0,
  n: 1,
  turn: 1,
  ended: 1,
  fate: 'committed',
  ...more,
})
const taken = (of: Emitted, more: Partial<Receipt> = {}): Receipt => ({
  id: of.id,
  writtenId: of.id,
  at: 1_000,
  payload: digest(payloadOf({ ...of, n: of.n ?? 0 })),
  body: of.id,
  harmed: false,
  ...more,
})
const flawless = { lost: [], phantom: [], outOfOrder: [], wrongBytes: [], changedId: [], early: [] }

/** Writers with a clock of their own, and a carrier that keeps every promise: keys are carried one by one, in the order of their events. */
const faultlessHistory = fc
  .array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c', null),
      discipline: fc.constantFrom<Discipline>('row', 'commit', 'none'),
      fate: fc.constantFrom<Emitted['fate']>('committed', 'committed', 'committed', 'rolled back', 'unknown'),
      scheduled: fc.boolean(),
      again: fc.nat(2),
      lane: fc.nat(3),
    }),
    { minLength: 4, maxLength: 40 },
  )
  .map((acts) => {
    const emitted = acts.map(({ key, discipline, fate, scheduled }, nr) =>
      event(`e${nr}`, {
        key: key === null ? null : `${discipline}-${key}`,
        discipline,
        fate,
        began: nr * 10,
        ended: nr * 10 + 5,
        n: nr,
        turn: discipline === 'none' ? null : nr,
        dueAt: scheduled ? nr * 10 + 500 : null,
      }),
    )
    // Every key has its lane, and lanes overtake one another.
    const lanes = Map.groupBy(emitted, ({ key, id }) => (key === null ? id : key))
    const receipts = [...lanes.values()].flatMap((lane) =>
      lane.flatMap((one) => {
        if (one.fate === 'rolled back') return []
        const times = 1 + acts[emitted.indexOf(one)]!.again
        return Array.from({ length: times }, (_, nr) => taken(one, { at: (one.dueAt ?? one.began) + nr }))
      }),
    )
    return { emitted, receipts }
  })

test('a history without a fault is found faultless, however lanes overtake one another and whatever comes twice', () => {
  fc.assert(
    fc.property(faultlessHistory, (history) => {
      const { repeats, bound, ...lists } = judge(history, 1_000)
      expect(lists).toEqual(flawless)
      expect(repeats).toBe(history.receipts.length - new Set(history.receipts.map(({ id }) => id)).size)
      expect(broken({ repeats, bound, ...lists })).toEqual([])
    }),
  )
})

/** Faults that are put into a history, and the list that must tell of them; false when there is no place for one. */
const planted: Readonly<Record<(typeof promises)[number], (emitted: Emitted[], receipts: Receipt[], nth: number) => boolean>> = {
  lost(emitted, receipts, nth) {
    const victim = pick(
      emitted.filter(({ fate }) => fate === 'committed'),
      nth,
    )
    const rest = receipts.filter(({ writtenId }) => writtenId !== victim?.id)
    receipts.splice(0, receipts.length, ...rest)
    return victim !== undefined
  },
  phantom(emitted, receipts, nth) {
    const victim = pick(
      emitted.filter(({ fate }) => fate === 'rolled back'),
      nth,
    )
    receipts.push(taken(victim ?? event('invented')))
    return true
  },
  outOfOrder(emitted, receipts, nth) {
    const counts = emitted.filter(({ key, dueAt, fate }) => key !== null && dueAt === null && fate === 'committed')
    const later = pick(
      counts.filter(({ key, began }) => counts.some((one) => one.key === key && one.began < began)),
      nth,
    )
    if (later === undefined) return false
    receipts.unshift(taken(later, { at: 0 }))
    return true
  },
  wrongBytes(_, receipts, nth) {
    const at = receipts.length === 0 ? -1 : nth % receipts.length
    const victim = receipts[at]
    if (victim === undefined) return false
    receipts[at] = { ...victim, payload: digest('spoilt'), body: 'spoilt' }
    // The payload of a repeat is told from the first by its body alone.
    return true
  },
  changedId(_, receipts, nth) {
    const at = receipts.length === 0 ? -1 : nth % receipts.length
    const victim = receipts[at]
    if (victim === undefined) return false
    receipts[at] = { ...victim, id: 'another' }
    return true
  },
  early(emitted, receipts, nth) {
    const victim = pick(
      emitted.filter(({ dueAt, fate }) => dueAt !== null && fate !== 'rolled back'),
      nth,
    )
    if (victim === undefined) return false
    receipts.unshift(taken(victim, { at: (victim.dueAt ?? 0) - 50 }))
    return true
  },
}

test.each(promises)('a planted fault is found, wherever it is: %s', (promise) => {
  let done = 0
  fc.assert(
    fc.property(faultlessHistory, fc.nat(), ({ emitted, receipts }, nth) => {
      const spoilt = [...receipts]
      fc.pre(planted[promise](emitted, spoilt, nth))
      done++
      const verdict: Verdict = judge({ emitted, receipts: spoilt }, 1_000)
      expect(verdict[promise]).not.toEqual([])
      expect(broken(verdict)).not.toEqual([])
    }),
  )
  expect(done).toBeGreaterThan(50)
})

test('repeats over the bound break a promise; those that the receiver has asked for do not count', () => {
  const one = event('e')
  const receipts = [taken(one, { harmed: true }), taken(one), taken(one)]
  expect(judge({ emitted: [one], receipts }, 0).repeats).toBe(1)
  expect(broken(judge({ emitted: [one], receipts }, 0))).toEqual(['repeats: 1, at most 0 are allowed'])
  expect(broken(judge({ emitted: [one], receipts }, 1))).toEqual([])
})

test('events without a common lock are in order only where one was committed before the other began', () => {
  const [a, b] = [event('a', { turn: null, began: 0, ended: 10 }), event('b', { turn: null, began: 5, ended: 15, n: 2 })]
  const later = event('c', { turn: null, began: 11, ended: 20, n: 3 })
  const order = (...of: Emitted[]): readonly string[] =>
    judge({ emitted: [a, b, later], receipts: of.map((one) => taken(one)) }, 0).outOfOrder
  expect(order(b, a, later)).toEqual([])
  expect(order(b, later, a)).toHaveLength(1)
})

test('what became of an event nobody knows: it may have come or not', () => {
  const unknown = event('u', { fate: 'unknown' })
  for (const receipts of [[], [taken(unknown)]]) {
    const { lost, phantom } = judge({ emitted: [unknown], receipts }, 0)
    expect([lost, phantom]).toEqual([[], []])
  }
})

test('a payload is found in the body that carries it, whatever stands in it', () => {
  const payload = payloadOf({ id: 'i', key: ',"source":"', n: 3, pad: 9 })
  const body = `{"id":"i","type":"t","timestamp":"x","data":${payload},"source":"faults","sequence":"7"}`
  expect(payloadIn(body)).toBe(payload)
})

function pick<T>(of: readonly T[], nth: number): T | undefined {
  return of[of.length === 0 ? 0 : nth % of.length]
}
