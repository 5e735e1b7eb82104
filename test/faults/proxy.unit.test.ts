import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../until.ts'
import { startProxy, type Proxy } from './proxy.ts'

/** A server that says back what it hears. */
async function echo(): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

interface Client {
  readonly socket: Socket
  heard: string
  ended: string | null
}

async function through({ port }: Proxy): Promise<Client> {
  const socket = connect(port, '127.0.0.1')
  const client: Client = { socket, heard: '', ended: null }
  socket.on('data', (data) => (client.heard += String(data)))
  socket.on('error', (error: NodeJS.ErrnoException) => (client.ended = error.code ?? 'error'))
  socket.on('close', () => (client.ended ??= 'closed'))
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return client
}

async function open(): Promise<Proxy> {
  const proxy = await startProxy(await echo())
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  return proxy
}

test('what is said arrives in order, also where pieces are slow and then quick again', async () => {
  const proxy = await open()
  const client = await through(proxy)
  client.socket.write('a')
  await until('it echoes', () => client.heard === 'a')
  proxy.slow(40)
  client.socket.write('b')
  await sleep(10)
  proxy.slow(0)
  client.socket.write('c')
  await until('all came back', () => client.heard.length === 3)
  expect(client.heard).toBe('abc')
})

test('a reset breaks connections at once, and new ones work', async () => {
  const proxy = await open()
  const client = await through(proxy)
  client.socket.write('a')
  await until('it echoes', () => client.heard === 'a')
  proxy.reset()
  await until('it is broken', () => client.ended !== null)
  expect(client.ended).toBe('ECONNRESET')
  const next = await through(proxy)
  next.socket.write('b')
  await until('it echoes', () => next.heard === 'b')
})

test('a forgotten connection falls silent and does not end, and new ones work', async () => {
  const proxy = await open()
  const client = await through(proxy)
  proxy.forget()
  client.socket.write('a')
  await sleep(50)
  expect(client).toMatchObject({ heard: '', ended: null })
  const next = await through(proxy)
  next.socket.write('b')
  await until('it echoes', () => next.heard === 'b')
})

test('what is said while the ends are parted arrives when they are joined', async () => {
  const proxy = await open()
  const client = await through(proxy)
  proxy.part()
  client.socket.write('a')
  const late = await through(proxy)
  late.socket.write('b')
  await sleep(50)
  expect([client.heard, late.heard]).toEqual(['', ''])
  proxy.join()
  await until('it arrives', () => client.heard === 'a' && late.heard === 'b')
})

test('new connections go where it leads', async () => {
  const proxy = await open()
  const other = createServer((socket) => socket.end('other')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  proxy.lead((other.address() as AddressInfo).port)
  const client = await through(proxy)
  await until('the other answers', () => client.heard === 'other')
})
