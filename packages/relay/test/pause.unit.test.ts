import { describe, expect, it } from 'vitest'
import { Pause } from '../src/pause.ts'

interface Load {
  /** Events a second. */
  readonly rate: number
  /** What a look takes where the database has nothing else to do, and how much longer it takes now. */
  readonly leastMs?: number
  readonly waitsMs: number
  readonly everyMs?: number
}

/** Ten seconds of news; the quickest look is one in a hundred. */
function under({ rate, leastMs = 0.3, waitsMs, everyMs = 5 }: Load, pause: Pause = new Pause(), from: number = 0): Pause {
  let nr = 0
  for (let now = from; now < from + 10_000; now += everyMs) {
    pause.took(leastMs + (++nr % 100 === 1 ? 0 : waitsMs), (rate * everyMs) / 1_000, now)
  }
  return pause
}

describe('the pause after news', () => {
  it('is nothing at a low rate, on a quick database and on a slow one, whether looks are close or far apart', () => {
    for (const rate of [1, 50, 200, 290]) {
      for (const waitsMs of [0.1, 3]) for (const everyMs of [1, 5, 50]) expect(under({ rate, waitsMs, everyMs }).after()).toBe(0)
    }
  })

  it('at a high rate is many times what a look waits, and 50 ms at most', () => {
    expect(under({ rate: 2_000, waitsMs: 0.25 }).after()).toBeCloseTo(12, 0)
    expect(under({ rate: 1_000, waitsMs: 0.8 }).after()).toBeCloseTo(38, 0)
    expect(under({ rate: 1_200, waitsMs: 20 }).after()).toBe(50)
  })

  it('is no longer than until a look finds 80 events', () => {
    expect(under({ rate: 4_000, waitsMs: 20 }).after()).toBeCloseTo(20, 6)
    expect(under({ rate: 80_000, waitsMs: 20 }).after()).toBeCloseTo(1, 6)
  })

  it('is nothing where the database answers as soon as it can, however far away it is', () => {
    expect(under({ rate: 5_000, leastMs: 0.2, waitsMs: 0 }).after()).toBe(0)
    expect(under({ rate: 5_000, leastMs: 15, waitsMs: 0 }).after()).toBeCloseTo(0, 9)
  })

  it('grows with the rate, however often somebody looks', () => {
    const rates = [290, 400, 500, 600, 700, 800, 900]
    for (const everyMs of [1, 5, 20, 50]) {
      const pauses = rates.map((rate) => under({ rate, waitsMs: 1, everyMs }).after())
      expect(pauses).toStrictEqual(pauses.toSorted((a, b) => a - b))
      expect(new Set(pauses).size).toBe(rates.length)
    }
  })

  it('forgets the rate within half a second, and how quick the database was within two thousand looks', () => {
    const pause = under({ rate: 5_000, waitsMs: 0.5 })
    expect(pause.after()).toBeGreaterThan(15)
    for (let now = 10_000; now < 10_500; now += 10) pause.took(0.8, 2, now)
    expect(pause.after()).toBe(0)

    const moved = under({ rate: 5_000, leastMs: 0.3, waitsMs: 0 })
    expect(under({ rate: 5_000, leastMs: 1, waitsMs: 0 }, moved, 10_000).after()).toBeCloseTo(0, 6)
  })
})
