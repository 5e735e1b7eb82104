import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createWebhookSink } from '@postrider/webhook'
import { vettedLookup } from '../src/connect.ts'
import { externalGuard, internalGuard } from '../src/guard.ts'
import { localAddresses } from '../src/hosts.ts'
import { createResolver, type HostResolver } from '../src/resolve.ts'
import { dnsServer } from './dns-server.ts'
import { deliver, localSink, secret } from './event.ts'
import { receiver } from './receiver.ts'

const public6 = '2606:4700:0:0:0:0:0:1111'

function ask(server: string, deadlineMs = 2_000): HostResolver {
  return createResolver({ host: 'shop.test', known: [], servers: [server], deadlineMs })
}

/** What net.connect would be told to dial. */
function dial(resolver: HostResolver, guard = externalGuard): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    vettedLookup(guard, resolver)('shop.test', { all: true }, (error, addresses) => {
      if (error) reject(error)
      else resolve(Array.isArray(addresses) ? addresses.map((one) => one.address) : [addresses])
    })
  })
}

describe('resolver', () => {
  test('asks both families, once for many callers, and keeps the answer longer than a TTL of 1 s', async () => {
    await using dns = await dnsServer((_name, type) => (type === 'A' ? ['8.8.8.8', '1.1.1.1'] : [public6]), 1)
    const resolver = ask(dns.address)
    const answers = await Promise.all(Array.from({ length: 20 }, () => resolver.resolve()))
    await setTimeout(1_100)
    answers.push(await resolver.resolve())
    for (const answer of answers) expect([...answer].sort()).toEqual(['1.1.1.1', '2606:4700::1111', '8.8.8.8'])
    expect(dns.questions.sort()).toEqual(['A shop.test', 'AAAA shop.test'])
    resolver.close()
  })

  test('a silent server costs its deadline, and the failure is shared for a while', async () => {
    await using dns = await dnsServer(() => null)
    const resolver = ask(dns.address, 300)
    const before = performance.now()
    await expect(resolver.resolve()).rejects.toMatchObject({ stage: 'dns' })
    expect(performance.now() - before).toBeLessThan(450)
    const asked = dns.questions.length
    await expect(resolver.resolve()).rejects.toMatchObject({ stage: 'dns' })
    expect(dns.questions).toHaveLength(asked)
    resolver.close()
  })

  test('a network that drops AAAA does not cost the deadline', async () => {
    await using dns = await dnsServer((_name, type) => (type === 'A' ? ['8.8.8.8'] : null))
    const resolver = ask(dns.address)
    const before = performance.now()
    expect(await resolver.resolve()).toEqual(['8.8.8.8'])
    expect(performance.now() - before).toBeLessThan(500)
    resolver.close()
  })

  test('a name without addresses is a failure of DNS', async () => {
    await using dns = await dnsServer(() => [])
    const resolver = ask(dns.address)
    await expect(resolver.resolve()).rejects.toMatchObject({ stage: 'dns', message: 'host name not resolved (ENODATA)' })
    resolver.close()
  })

  test('close ends what is under way', async () => {
    await using dns = await dnsServer(() => null)
    const resolver = ask(dns.address, 5_000)
    const before = performance.now()
    const asking = resolver.resolve()
    resolver.close()
    await expect(asking).rejects.toMatchObject({ stage: 'dns' })
    expect(performance.now() - before).toBeLessThan(500)
  })
})

describe('rebinding', () => {
  test('of a mixed answer only the public addresses are dialled', async () => {
    await using dns = await dnsServer((_name, type) =>
      type === 'A' ? ['127.0.0.1', '8.8.8.8', '10.0.0.1'] : ['0:0:0:0:0:0:0:1', public6],
    )
    const resolver = ask(dns.address)
    expect([...(await dial(resolver))].sort()).toEqual(['2606:4700::1111', '8.8.8.8'])
    resolver.close()
  })

  test('a name that turns to 127.0.0.1 is vetted again', async () => {
    const resolver: HostResolver = { resolve: () => Promise.resolve(answers.shift() ?? []), close: () => undefined }
    const answers = [['8.8.8.8'], ['127.0.0.1']]
    expect(await dial(resolver)).toEqual(['8.8.8.8'])
    await expect(dial(resolver)).rejects.toMatchObject({ stage: 'blocked' })
  })

  test('a name that leads inside is rejected as blocked_target, and the message has no address', async () => {
    await using inside = await receiver()
    await using dns = await dnsServer((_name, type) => (type === 'A' ? ['127.0.0.1'] : []))
    await using sink = createWebhookSink({
      name: 'outside',
      url: `https://shop.test:${inside.port}/`,
      ports: [inside.port],
      secrets: { current: secret },
      dnsServers: [dns.address],
    })
    const outcome = await deliver(sink)
    expect(outcome).toMatchObject({ kind: 'reject', error: { code: 'blocked_target', message: 'target not allowed' } })
    expect(JSON.stringify(outcome)).not.toContain('127.')
    expect(inside.connections).toBe(0)
  })

  test('internal names resolve by DNS too, and must lead into an allowed network', async () => {
    await using server = await receiver()
    await using dns = await dnsServer((name, type) => (type === 'A' && name === 'in.test' ? ['127.0.0.1'] : ['192.168.77.1']))
    const options = { dnsServers: [dns.address] }
    await using good = localSink(`http://in.test:${server.port}/`, options)
    await using bad = localSink(`http://out.test:${server.port}/`, options)
    expect(await deliver(good)).toMatchObject({ kind: 'delivered' })
    expect(await deliver(bad)).toMatchObject({ kind: 'reject', error: { code: 'blocked_target' } })
  })

  test('a name that cannot be resolved is retried', async () => {
    await using dns = await dnsServer(() => [])
    await using sink = localSink('http://nowhere.test:1/', { dnsServers: [dns.address] })
    expect(await deliver(sink)).toMatchObject({ kind: 'retry', error: { code: 'dns' } })
  })
})

describe('names of this machine', () => {
  const file = '127.0.0.1 localhost\n::1 localhost ip6-localhost\n# 10.0.0.9 not.this\n10.0.0.1\tReceiver shop.internal # why\n'
  test.each([
    ['localhost', ['127.0.0.1', '::1']],
    ['receiver', ['10.0.0.1']],
    ['shop.internal.', ['10.0.0.1']],
    ['not.this', []],
    ['why', []],
  ])('%s', (host, expected) => expect(localAddresses(host, file)).toEqual(expected))

  test('localhost needs no file', () => expect(localAddresses('a.localhost', '')).toEqual(['127.0.0.1', '::1']))

  test('localhost is reached by an internal sink that allows it, by network or by name', async () => {
    await using server = await receiver()
    for (const allow of [['127.0.0.0/8'], ['localhost']]) {
      await using sink = localSink(`http://localhost:${server.port}/`, { allow })
      expect(await deliver(sink)).toMatchObject({ kind: 'delivered' })
    }
  })

  test('an external guard has no hosts, so a name cannot open the inside', () => {
    expect(externalGuard.permits('127.0.0.1', 'localhost')).toBe(false)
    expect(internalGuard(['localhost']).permits('127.0.0.1', 'other.test')).toBe(false)
  })
})
