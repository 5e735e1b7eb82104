import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createWebhookSink, generateSecret } from '@postrider/webhook'
import { sinkContract, type Behaviour, type SinkHarness } from '@postrider/relay/testing'
import { describe, expect, it } from 'vitest'

async function webhookHarness(): Promise<SinkHarness> {
  let behaviour: Behaviour = 'accept'
  const received: { id: string; payload: string }[] = []
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received.push({ id: String(request.headers['webhook-id']), payload: Buffer.concat(chunks).toString() })
      switch (behaviour) {
        case 'accept':
          return response.writeHead(204).end()
        case 'fail':
          return response.writeHead(500).end('no')
        case 'refuse':
          return response.writeHead(413).end()
        case 'throttle':
          return response.writeHead(429, { 'retry-after': '2' }).end()
        case 'break':
          return request.socket.destroy()
        case 'stall':
          return undefined
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sink = createWebhookSink({
    name: 'contract',
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    secrets: { current: generateSecret('whsec') },
    format: 'raw',
    trust: 'internal',
    allow: ['127.0.0.0/8'],
    timeouts: { totalMs: 1_000 },
  })
  return {
    sink,
    behave(next) {
      behaviour = next
    },
    received: () => received,
    async [Symbol.asyncDispose]() {
      await sink[Symbol.asyncDispose]()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

describe('the webhook sink keeps the contract of sinks', () => {
  it.each(sinkContract(webhookHarness))('$promise', async ({ check }) => {
    await expect(check()).resolves.toBeUndefined()
  })
})
