import { connect } from 'node:net'
import { frame, frames, Reader, Writer } from '../fake/wire.ts'

/** The ids of the brokers that a broker names when it is asked for metadata; rejects when it does not answer in time. */
export function askBrokers(port: number, timeoutMs: number): Promise<number[]> {
  const { promise, resolve, reject } = Promise.withResolvers<number[]>()
  const socket = connect(port, '127.0.0.1')
  const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  // Metadata version 6, of no topic.
  const request = new Writer()
    .int16(3)
    .int16(6)
    .int32(1)
    .string('postrider/probe')
    .array([], () => {})
    .boolean(false)
  socket.on('connect', () => socket.write(frame(request.bytes)))
  socket.on('error', reject)
  socket.on('close', () => {
    clearTimeout(timer)
    reject(new Error('the connection was closed'))
  })
  socket.on(
    'data',
    frames((answer) => {
      const reader = new Reader(answer)
      reader.take(8) // correlation id, throttle time
      const brokers = reader.array(() => {
        const id = reader.int32()
        reader.string()
        reader.int32()
        reader.string()
        return id
      })
      resolve(brokers ?? [])
      socket.destroy()
    }),
  )
  return promise
}
