import { describe, expect, it } from 'vitest'
import { Pause } from '../src/pause.ts'

/** The pause after ten seconds of news at a rate, one look every so many milliseconds. */
function pauseAt(perSecond: number, lookMs: number, everyMs: number = 5): number {
  const pause = new Pause()
  for (let now = 0; now < 10_000; now += everyMs) pause.took(lookMs, (perSecond * everyMs) / 1_000, now)
  return pause.after()
}

describe('the pause after news', () => {
  it('is nothing at a low rate, on a quick database and on a slow one', () => {
    for (const rate of [1, 50, 200]) for (const lookMs of [0.3, 3]) expect(pauseAt(rate, lookMs)).toBe(0)
  })

  it('at a high rate is many times what the database takes to answer, and 50 ms at most', () => {
    expect(pauseAt(1_000, 0.3)).toBeCloseTo(9.6, 0)
    expect(pauseAt(10_000, 1)).toBeCloseTo(32, 0)
    expect(pauseAt(10_000, 20)).toBe(50)
  })

  it('grows with the rate, however often somebody looks', () => {
    const rates = [200, 400, 500, 600, 700, 800, 900]
    for (const everyMs of [1, 5, 20]) {
      const pauses = rates.map((rate) => pauseAt(rate, 1, everyMs))
      expect(pauses).toStrictEqual(pauses.toSorted((a, b) => a - b))
      expect(new Set(pauses).size).toBe(rates.length)
    }
  })

  it('is over soon after the rate has fallen', () => {
    const pause = new Pause()
    for (let now = 0; now < 5_000; now += 10) pause.took(0.5, 20, now)
    expect(pause.after()).toBeCloseTo(16, 0)
    for (let now = 5_000; now < 6_000; now += 10) pause.took(0.5, 2, now)
    expect(pause.after()).toBe(0)
  })
})
