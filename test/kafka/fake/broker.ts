import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { answers, apis } from './answer.ts'
import type { StoredRecord } from './batch.ts'
import { Faults, type Fault, type Spot } from './faults.ts'
import { State } from './state.ts'
import { frame, frames, Reader, Writer } from './wire.ts'

export interface FakeKafkaOptions {
  /** Nodes, each with a port of its own, numbered from 1. Default 1. */
  readonly nodes?: number
  /** Largest batch that is taken. Default: as Kafka's, 1,048,588. */
  readonly maxBatchBytes?: number
}

/**
 * A cluster of Kafka brokers in this process that goes wrong on demand. It speaks what a producer and a plain reader use, and
 * keeps the rules of a real broker for sequence numbers; there are no groups, no transactions, no replication.
 */
export interface FakeKafka extends AsyncDisposable {
  readonly bootstrap: readonly string[]
  readonly faults: Faults
  createTopic(name: string, partitions?: number): void
  deleteTopic(name: string): void
  /** To the next node, unless one is named; -1 leaves the partition without a leader. */
  moveLeader(topic: string, partition: number, to?: number): void
  /** What is really stored. */
  log(topic: string, partition: number): StoredRecord[]
  /** Refuses connections, and ends those that are open. */
  down(node: number): Promise<void>
  /** Listens again, on the same port. */
  up(node: number): Promise<void>
}

interface Node {
  readonly id: number
  server: Server
  port: number
  readonly sockets: Set<Socket>
}

export async function startFakeKafka({ nodes: count = 1, maxBatchBytes = 1_048_588 }: FakeKafkaOptions = {}): Promise<FakeKafka> {
  const faults = new Faults()
  const nodes = Array.from({ length: count }, (_, index): Node => ({
    id: index + 1,
    server: createServer(),
    port: 0,
    sockets: new Set(),
  }))
  const state = new State(
    nodes.map(({ id }) => id),
    maxBatchBytes,
  )
  const ports = new Map<number, number>()
  const up = async (node: Node): Promise<void> => {
    node.server = createServer((socket) => serve(node.id, socket)).listen(node.port, '127.0.0.1')
    await once(node.server, 'listening')
    node.port = (node.server.address() as AddressInfo).port
    ports.set(node.id, node.port)
  }
  const down = async (node: Node): Promise<void> => {
    if (!node.server.listening) return
    node.server.close()
    for (const socket of node.sockets) socket.destroy()
    await once(node.server, 'close')
    ports.delete(node.id)
  }
  const nodeOf = (id: number): Node => {
    const node = nodes[id - 1]
    if (node === undefined) throw new Error(`there is no node ${id}`)
    return node
  }

  function serve(id: number, socket: Socket): void {
    const { sockets } = nodeOf(id)
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let turn = Promise.resolve() // a broker answers a connection's requests in order
    socket.on(
      'data',
      frames((request) => {
        turn = turn.then(() => answer(id, socket, request)).catch(() => void socket.destroy())
      }),
    )
  }

  async function answer(node: number, socket: Socket, request: Buffer): Promise<void> {
    const ask = new Reader(request)
    const [key, version, correlation] = [ask.int16(), ask.int16(), ask.int32()]
    ask.string() // client id, never compact
    const api = apis[key]
    if (api === undefined || version < api.min || version > api.max) throw new Error(`version ${version} of request ${key}`)
    ask.flexible = version >= api.flexible
    ask.tags()
    const reply = new Writer(ask.flexible)
    const struck: Fault[] = []
    const strike = (where: Omit<Spot, 'api' | 'node'>): Fault | undefined => {
      const fault = faults.next({ api: api.name, node, ...where })
      if (fault !== undefined) struck.push(fault)
      if (fault?.do === 'close' || fault?.do === 'hang') throw new Interruption(fault.do)
      if (fault?.do === 'move-leader') state.moveLeader(where.topic ?? '', where.partition ?? 0, fault.to)
      if (fault?.do === 'delete-topic') state.deleteTopic(where.topic ?? '')
      return fault
    }
    try {
      const namesPartitions = api.name === 'Produce' || api.name === 'Fetch' || api.name === 'ListOffsets'
      if (!namesPartitions) strike({})
      const wanted = answers[api.name]({ state, node, version, ask, answer: reply, ports, strike })
      for (const fault of struck) if (fault.do === 'delay') await sleep(fault.ms, undefined, { ref: false })
      if (struck.some((fault) => fault.do === 'drop-ack')) throw new Interruption('close')
      if (!wanted || socket.destroyed) return
    } catch (error) {
      if (!(error instanceof Interruption)) throw error
      if (error.how === 'close') socket.destroy()
      else await once(socket, 'close') // nothing more is answered on this connection
      return
    }
    // The header of an answer has tagged fields too, except where the client does not know yet which version it gets.
    const header = new Writer(ask.flexible).int32(correlation)
    if (api.name !== 'ApiVersions') header.tags()
    socket.write(frame(Buffer.concat([header.bytes, reply.bytes])))
  }

  for (const node of nodes) await up(node)
  return {
    bootstrap: nodes.map(({ port }) => `127.0.0.1:${port}`),
    faults,
    createTopic: (name, partitions = 1) => state.createTopic(name, partitions),
    deleteTopic: (name) => state.deleteTopic(name),
    moveLeader: (topic, partition, to) => state.moveLeader(topic, partition, to),
    log: (topic, partition) => state.log(topic, partition),
    down: (node) => down(nodeOf(node)),
    up: (node) => up(nodeOf(node)),
    async [Symbol.asyncDispose]() {
      for (const node of nodes) await down(node)
    },
  }
}

class Interruption extends Error {
  readonly how: 'close' | 'hang'
  constructor(how: 'close' | 'hang') {
    super(how)
    this.how = how
  }
}
