/**
 * The life of a delivery: an event's row of trouble for one sink.
 * An event that is delivered at the first attempt never has one. `settled` is the end: the row is gone.
 * The states are also a CHECK of `postrider.deliveries`; a test compares the two.
 */
export const lifecycle = {
  /** Waits for its time (`deliver_at`). */
  scheduled: {
    delivered: 'settled',
    failed: 'retrying',
    rejected: 'dead',
    overtaken: 'blocked',
    discarded: 'settled',
    expired: 'settled',
  },
  /** Due at `available_at`: a failed attempt, or a head that was released. */
  retrying: {
    delivered: 'settled',
    failed: 'retrying',
    rejected: 'dead',
    overtaken: 'blocked',
    discarded: 'settled',
    expired: 'settled',
  },
  /** Waits behind an earlier event of its key. When that is delivered it is released, or carried at once right behind it. */
  blocked: {
    released: 'retrying',
    delivered: 'settled',
    failed: 'retrying',
    rejected: 'dead',
    discarded: 'settled',
    expired: 'settled',
  },
  /** A dead letter: will not be tried again by itself. */
  dead: { retried: 'retrying', discarded: 'settled' },
} as const

export type DeliveryState = keyof typeof lifecycle
export const deliveryStates: readonly DeliveryState[] = Object.keys(lifecycle) as DeliveryState[]
