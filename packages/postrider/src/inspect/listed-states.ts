/** Where an event is at a sink. */
export const listedStates = ['pending', 'scheduled', 'retrying', 'blocked', 'dead', 'delivered'] as const
export type ListedState = (typeof listedStates)[number]
