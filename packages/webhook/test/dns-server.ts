import { createSocket } from 'node:dgram'

export type Records = Readonly<Partial<Record<'A' | 'AAAA', readonly string[]>>>

export interface DnsServer extends AsyncDisposable {
  readonly address: string
  /** Questions so far, as `A name`. */
  readonly questions: string[]
}

const types = { 1: 'A', 28: 'AAAA' } as const

/** A real name server on 127.0.0.1 (RFC 1035, one question, no compression). `null` means it keeps silent. */
export async function dnsServer(
  answer: (name: string, type: 'A' | 'AAAA', count: number) => readonly string[] | null,
  ttlSeconds = 1,
): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const questions: string[] = []
  socket.on('message', (query, peer) => {
    const labels: string[] = []
    let at = 12
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const type = types[query.readUInt16BE(at + 1) as keyof typeof types]
    questions.push(`${type} ${labels.join('.')}`)
    const found = answer(labels.join('.'), type, questions.length)
    if (found === null) return
    const header = Buffer.from(query.subarray(0, 12))
    header.writeUInt16BE(0x8180, 2)
    header.writeUInt16BE(found.length, 6)
    header.writeUInt32BE(0, 8)
    const records = found.map((address) => {
      const data = type === 'A' ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address)
      const head = Buffer.from([0xc0, 12, 0, type === 'A' ? 1 : 28, 0, 1, 0, 0, 0, ttlSeconds, 0, data.length])
      return Buffer.concat([head, data])
    })
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...records]), peer.port, peer.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}

/** All eight groups written out, for the addresses of these tests: `2606:4700:0:0:0:0:0:1111`. */
function ipv6Bytes(address: string): Buffer {
  return Buffer.concat(address.split(':').map((group) => Buffer.from(group.padStart(4, '0'), 'hex')))
}
