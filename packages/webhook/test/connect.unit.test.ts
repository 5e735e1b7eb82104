import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { guardedConnector } from '../src/connect.ts'
import { externalGuard, type Guard } from '../src/guard.ts'
import { receiver } from './receiver.ts'

function connect(guard: Guard, hostname: string, port: number): Promise<Socket> {
  const resolver = { resolve: () => Promise.resolve(['127.0.0.1']), close: () => undefined }
  const connector = guardedConnector({ guard, resolver, tls: {}, deadlineMs: 1_000 })
  return new Promise((resolve, reject) => {
    connector({ hostname, host: `${hostname}:${port}`, protocol: 'http:', port: String(port) }, (error, socket) => {
      if (error === null) resolve(socket)
      else reject(error)
    })
  })
}

/** Lets a name pass so many times, then says no. */
function changeable(times: number): Guard {
  return { permits: () => (times -= 1) >= 0 }
}

test('a literal address is refused before any packet', async () => {
  await using server = await receiver()
  await expect(connect(externalGuard, '127.0.0.1', server.port)).rejects.toMatchObject({ stage: 'blocked' })
  expect(server.connections).toBe(0)
})

test('a name that leads to a refused address is refused before any packet', async () => {
  await using server = await receiver()
  await expect(connect(externalGuard, 'shop.test', server.port)).rejects.toMatchObject({ stage: 'blocked' })
  expect(server.connections).toBe(0)
})

test('the address that the socket really reached is checked again, and the socket closed', async () => {
  await using server = await receiver()
  await expect(connect(changeable(1), 'shop.test', server.port)).rejects.toMatchObject({
    stage: 'blocked',
    message: 'target not allowed',
  })
  expect(server.received).toHaveLength(0)
  const socket = await connect(changeable(2), 'shop.test', server.port)
  expect(socket.remoteAddress).toBe('127.0.0.1')
  socket.destroy()
})

test('a refused connection says why without an address', async () => {
  const server = await receiver()
  await server[Symbol.asyncDispose]()
  await expect(connect(changeable(9), 'shop.test', server.port)).rejects.toMatchObject({
    stage: 'connect',
    message: 'no connection (ECONNREFUSED)',
  })
})
