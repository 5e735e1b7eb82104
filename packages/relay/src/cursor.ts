/**
 * A lane's cursor: everything visible in `done` is finished. While a window is open (a backlog larger than a page),
 * events visible in `target`, not in `done`, up to `position`, are finished too.
 * With no window open, `position` is a floor: an event that began after `done` was taken has a higher position.
 */
export interface Cursor {
  readonly done: string
  readonly target: string | null
  readonly position: bigint
  /**
   * The position was raised over events that are not of the window: it is a floor only for transactions that begin after it was
   * read, so its checkpoint draws a horizon of its own.
   */
  readonly raised?: true
}

/** The parts of a `pg_snapshot` (`xmin:xmax:xip,xip…`) that an index can use. */
export interface SnapshotParts {
  /** Transactions from here on had not begun. */
  readonly xmax: string
  /** Transactions below xmax that were still open. */
  readonly xip: readonly string[]
}

export function partsOf(snapshot: string): SnapshotParts {
  const [, xmax, xip] = snapshot.split(':')
  if (xmax === undefined || xip === undefined) throw new TypeError(`not a snapshot: ${snapshot}`)
  return { xmax, xip: xip === '' ? [] : xip.split(',') }
}

/** Whether every transaction that is visible in the other snapshot is visible in this one. */
export function covers(snapshot: string, other: string): boolean {
  if (snapshot === other) return true
  const [mine, theirs] = [partsOf(snapshot), partsOf(other)]
  const end = BigInt(theirs.xmax)
  return BigInt(mine.xmax) >= end && mine.xip.every((open) => BigInt(open) >= end || theirs.xip.includes(open))
}
