import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { covers } from '../src/cursor.ts'

/** As PostgreSQL writes one: of the transactions below `xmax` some are open, but not the last, for `xmax` follows one that has ended. */
const snapshots = fc
  .record({ xmax: fc.integer({ min: 3, max: 14 }), open: fc.uniqueArray(fc.integer({ min: 3, max: 13 }), { maxLength: 5 }) })
  .map(({ xmax, open }) => {
    const xip = open.filter((xid) => xid < xmax - 1).sort((a, b) => a - b)
    return { text: `${xip[0] ?? xmax}:${xmax}:${xip.join(',')}`, shows: (xid: number) => xid < xmax && !xip.includes(xid) }
  })

describe('a snapshot', () => {
  it('covers another when it shows every transaction that the other shows, and only then', () => {
    const xids = Array.from({ length: 14 }, (_, index) => index + 3)
    fc.assert(
      fc.property(snapshots, snapshots, (one, other) => {
        expect(covers(one.text, other.text)).toBe(xids.every((xid) => !other.shows(xid) || one.shows(xid)))
      }),
      { numRuns: 2_000 },
    )
  })

  it('is compared by number, whatever the count of digits', () => {
    expect(covers('1000:1000:', '999:999:')).toBe(true)
    expect(covers('999:999:', '1000:1000:')).toBe(false)
    expect(covers('99:1000:99', '99:1000:99,100')).toBe(true)
  })
})
