import { describe, expect, it } from 'vitest'
import { Lane, type Route } from '../src/lane.ts'

const cursor = { done: '5:5:', target: null, position: 0n, horizon: null }
const noCare = { pageSize: 0, suspect: null, strikes: 0, atRisk: false }

function laneOf(): Lane {
  const lane = new Lane({ name: 'sink', laneCount: 4 } as Route, 0, '0', 1n, cursor, Infinity, noCare, null)
  lane.bell.hush()
  return lane
}

describe('a lane', () => {
  it('is not woken for what it has read, and is for what it has not', async () => {
    const lane = laneOf()
    await lane.reads(async () => ({ target: '8:12:8' }))
    lane.tell('8:12:8')
    lane.tell('8:11:8,9')
    expect(lane.bell.rung).toBe(false)
    lane.tell('12:12:')
    expect(lane.bell.rung).toBe(true)
  })

  it('is woken for anything before its first read, and always when nobody knows what there is', async () => {
    const lane = laneOf()
    lane.tell('5:5:')
    expect(lane.bell.rung).toBe(true)
    await lane.reads(async () => ({ target: '9:9:' }))
    lane.bell.hush()
    lane.tell(null)
    expect(lane.bell.rung).toBe(true)
  })

  it('that is told while it reads looks again when its read did not show that, and only then', async () => {
    const lane = laneOf()
    for (const [shown, again] of [
      ['9:10:9', true],
      ['10:10:', false],
    ] as const) {
      lane.bell.hush()
      await lane.reads(async () => {
        lane.hint()
        lane.tell('10:10:')
        expect(lane.bell.rung).toBe(false)
        return { target: shown }
      })
      expect(lane.bell.rung).toBe(again)
    }
    lane.bell.hush()
    lane.hint()
    expect(lane.bell.rung).toBe(true)
  })

  it('that fails to read looks again for what it was told meanwhile', async () => {
    const lane = laneOf()
    const read = lane.reads(async () => {
      lane.tell('10:10:')
      throw new Error('no connection')
    })
    await expect(read).rejects.toThrow('no connection')
    expect(lane.bell.rung).toBe(true)
  })
})
