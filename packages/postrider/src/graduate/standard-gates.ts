/** What the gates before a cutover ask for, unless told otherwise. */
export const standardGates = { maxAgeMs: 86_400_000, minEvents: 1, lagMs: 5_000 } as const
