import { road, type Fault } from '../fault.ts'
import { honest, type Manners } from '../receiver.ts'
import type { Random } from '../random.ts'

const of = (does: Manners['does'], random: Random): Manners => ({ does, share: random.pick([0.05, 0.3, 1]), ms: 0 })

/** How receivers treat relays, one behaviour each. */
const manners: readonly (readonly [name: string, does: string, draw: (random: Random) => Manners])[] = [
  ['receiver-refuses', 'answers 500 to a share of the requests, or to all', (random) => of('refuses', random)],
  ['receiver-cuts', 'breaks the connection instead of answering, for a share or for all', (random) => of('cuts', random)],
  ['receiver-lies', 'takes the event, then answers 500 or breaks the connection', (random) => of('lies', random)],
  ['receiver-slow', 'takes up to 1.5 s to answer', (random) => ({ ...of('slow', random), ms: random.int(100, 1_500) })],
  ['receiver-stalls', 'takes the event and does not answer in time', (random) => ({ ...of('stalls', random), ms: 5_000 })],
]

const treated = { attacks: [...road, 'back at once'], blows: 3, backWithinMs: 10_000 } as const satisfies Partial<Fault>

export const receiver: readonly Fault[] = [
  {
    ...treated,
    name: 'receiver-dies',
    does: 'SIGKILL to the receiver; it comes back at the same place',
    lastsMs: [0, 2_000],
    act: ({ receiver }) => receiver.die(),
    heal: ({ receiver }) => receiver.comeBack(),
  },
  ...manners.map(([name, does, draw]): Fault => ({
    ...treated,
    name,
    does: `the receiver ${does}`,
    lastsMs: [300, 2_000],
    act: ({ receiver }, random) => receiver.behave(draw(random)),
    heal: ({ receiver }) => receiver.behave(honest),
  })),
]
