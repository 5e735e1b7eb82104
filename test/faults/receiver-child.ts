/**
 * A receiver as a process of its own that can be killed: `node receiver-child.ts OPTIONS`. It writes down what it takes before it
 * answers. Misbehaves as it is told, by `send`. Ends with its parent.
 */
import { openSync, writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { startReceiver, type Answer, type Arrival } from '../receiver.ts'
import type { Receipt } from './history.ts'
import { digest, payloadIn } from './payload.ts'
import { Random } from './random.ts'
import { honest, type ChildOptions, type Manners } from './receiver.ts'

const { journal, port, secret, seed } = JSON.parse(process.argv[2] ?? '') as ChildOptions
const file = openSync(journal, 'a')
let manners: Manners = honest

const receiver = await startReceiver({ port, ...(secret === '' ? {} : { secret }), answer })
process.on('message', (message: Manners | 'complaints') => {
  if (message === 'complaints') process.send?.(receiver.complaints)
  else {
    manners = message
    process.send?.('so be it')
  }
})
process.on('disconnect', () => process.exit(0))
// It will not end in good order, which is when Node does this by itself.
flushCompileCache()
process.send?.({ url: receiver.url, secret: receiver.secret })

async function answer(arrival: Arrival, body: string): Promise<Answer> {
  const { does, share, ms } = manners
  // By the event and the attempt, so that the same plan hurts the same.
  const hurt = new Random(`${seed}/${arrival.id}/${arrival.attempt}`).next() < share
  if (!hurt || does === 'nothing') return take(arrival, body, false)
  switch (does) {
    case 'refuses':
      return 500
    case 'cuts':
      return 'cut'
    case 'lies':
      take(arrival, body, true)
      return arrival.n % 2 === 0 ? 500 : 'cut'
    case 'slow':
      await sleep(ms)
      return take(arrival, body, false)
    case 'stalls':
      take(arrival, body, true)
      return await sleep(ms, 204)
  }
}

function take(arrival: Arrival, body: string, harmed: boolean): Answer {
  const payload = payloadIn(body)
  const receipt: Receipt = {
    id: arrival.id,
    writtenId: (JSON.parse(payload) as { id: string }).id,
    at: Date.now(),
    payload: digest(payload),
    body: digest(body),
    harmed,
  }
  writeSync(file, `${JSON.stringify(receipt)}\n`)
  return 204
}
