/** A receiver as a process of its own, for load: tells its place, and on `report` everything that it has taken. Ends with its parent. */
import { startReceiver } from './receiver.ts'
import type { Report } from './receiver-process.ts'

const receiver = await startReceiver()
const report = (): Report => ({ distinct: receiver.distinct, taken: receiver.taken, complaints: receiver.complaints })

process.on('message', (word) => process.send?.(word === 'report' ? report() : { distinct: receiver.distinct }))
process.on('disconnect', () => process.exit(0))
process.send?.({ url: receiver.url, secret: receiver.secret })
