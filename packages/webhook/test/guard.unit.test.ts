import { describe, expect, test } from 'vitest'
import { externalGuard, internalGuard, parseNetwork } from '../src/guard.ts'
import { targetProblems } from '../src/target.ts'

const open = ['8.8.8.8', '1.1.1.1', '172.32.0.1', '2001:4860:4860::8888', '2606:4700::1111', '::ffff:8.8.8.8']
const closed = (
  '127.0.0.1 127.8.8.8 10.1.2.3 172.31.255.255 192.168.1.1 169.254.169.254 169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.192 ' +
  '168.63.129.16 0.0.0.0 0.1.2.3 198.18.0.1 192.0.2.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 192.88.99.1 ::1 :: ' +
  '::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::ffff:0:127.0.0.1 ::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::a00:1 2002:a9fe:a9fe::1 ' +
  '2001:0:4136:e378:8000:63bf:3fff:fdd2 fd00:ec2::254 fc00::1 fe80::1 febf::1 fec0::1 ff02::1 2001:db8::1 3fff::1 5f00::1 100::1'
).split(' ')

describe('external', () => {
  test('46 addresses are in the table', () => expect(open.length + closed.length).toBe(46))
  test.each(open)('%s is public', (address) => expect(externalGuard.permits(address, 'h')).toBe(true))
  test.each(closed)('%s is not', (address) => expect(externalGuard.permits(address, 'h')).toBe(false))
  test.each(['', 'example.com', 'fe80::1%eth0', '127.1', '8.8.8.8 '])('%j is no address', (text) => {
    expect(externalGuard.permits(text, 'h')).toBe(false)
  })
})

describe('internal', () => {
  const everywhere = internalGuard(['0.0.0.0/0', '::/0', 'metadata.test'])
  const never = (
    '169.254.169.254 169.254.170.2 fd00:ec2::254 168.63.129.16 100.100.100.200 192.0.0.192 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 ' +
    '255.255.255.255 :: fe80::1 ff02::1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::169.254.169.254 2002:a9fe:a9fe::1 fe80::1%eth0'
  ).split(' ')
  test.each(never)('%s is never allowed, not even by 0.0.0.0/0 or by its name', (address) => {
    expect(everywhere.permits(address, 'metadata.test')).toBe(false)
  })

  test('only what is listed: networks, addresses, and hosts by name', () => {
    const guard = internalGuard(['10.0.0.0/8', 'fd12::/16', '192.168.1.7', 'Payments.internal.'])
    expect(guard.permits('10.9.9.9', 'any.test')).toBe(true)
    expect(guard.permits('::ffff:10.9.9.9', 'any.test')).toBe(true)
    expect(guard.permits('fd12::1', 'any.test')).toBe(true)
    expect(guard.permits('192.168.1.7', 'any.test')).toBe(true)
    expect(guard.permits('172.16.0.1', 'payments.internal')).toBe(true)
    expect(guard.permits('192.168.1.8', 'any.test')).toBe(false)
    expect(guard.permits('172.16.0.1', 'other.internal')).toBe(false)
    expect(guard.permits('8.8.8.8', 'any.test')).toBe(false)
  })

  test('networks are read strictly', () => {
    expect(parseNetwork('10.0.0.0/8')).toEqual(['10.0.0.0', 8])
    expect(parseNetwork('::1')).toEqual(['::1', 128])
    for (const bad of ['10.0.0.0/33', '10.0.0/8', '::/129', '10.0.0.0/8/8', '10.0.0.0/', 'host', '10.0.0.0/-1', 'fe80::%1/64']) {
      expect([bad, parseNetwork(bad)]).toEqual([bad, null])
    }
  })
})

const oddForms = [
  '127.1',
  '2130706433',
  '0x7f.1',
  '0177.0.0.1',
  '①②⑦.0.0.1',
  '[::ffff:127.0.0.1]',
  '[::1]',
  'localhost',
  'localhost.',
  'a.LOCALHOST',
]
test.each(oddForms)('the odd form %s is seen through', (host) => {
  expect(targetProblems(`https://${host}/`, 'external', [443], externalGuard)).toEqual([
    'url: target not allowed for trust: external',
  ])
})
test.each(oddForms.slice(0, 7))('the odd form %s does not pass another network', (host) => {
  const problems = targetProblems(`http://${host}/`, 'internal', [], internalGuard(['10.0.0.0/8']))
  expect(problems).toEqual(['url: target not allowed for trust: internal'])
})
