import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Queue, Slots } from '../src/slots.ts'
import { Bell } from '../src/wait.ts'

describe('slots', () => {
  it('let in whoever asks while there is room, though others have given up before', async () => {
    const slots = new Slots(1, 20)
    const gone = new Queue()
    const told: boolean[] = []
    expect(slots.take(gone, () => undefined)).toBe(true)
    expect(slots.take(gone, (started) => told.push(started))).toBe(null)
    slots.give()
    gone.close()
    expect(told).toEqual([false])
    // The next token is there, and the timer that waits for it has not been heard yet.
    const end = performance.now() + 80
    while (performance.now() < end);
    const started = new Promise((resolve) => {
      if (slots.take(new Queue(), resolve) === true) resolve(true)
    })
    expect(await Promise.race([started, sleep(500, 'nobody came')])).toBe(true)
  })

  it('keep no leave to probe for the next time that the circuit opens', () => {
    const slots = new Slots(4)
    slots.shut('circuit')
    slots.permitOne()
    slots.reopen('circuit')
    slots.shut('circuit')
    expect(slots.open).toBe(false)
  })

  it('are given to those who wait when limits, shares, quiet times and pauses end, in whatever order', async () => {
    const slots = new Slots(1, 10)
    const lane = { bell: new Bell(), released: new AbortController().signal }
    slots.shut('state')
    slots.quiet(50)
    slots.share(0)
    const woken = slots.vacancy(lane, Infinity)
    slots.reopen('state')
    slots.limit(4, 1_000)
    slots.share(1)
    expect(await Promise.race([woken.then(() => 'woken'), sleep(1_000, 'slept')])).toBe('woken')
    expect(slots.open).toBe(true)
  })
})
