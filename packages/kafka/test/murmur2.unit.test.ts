import { compatibilityPartitioner } from '@platformatic/kafka'
import { murmur2, partitionOf } from '@postrider/kafka'
import { Partitioners } from 'kafkajs'
import { expect, it } from 'vitest'

// org.apache.kafka.common.utils.UtilsTest.testMurmur2
const vectors = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
] as const

it.each(vectors)('murmur2 of %s is that of Java', (text, expected) => {
  expect(murmur2(Buffer.from(text))).toBe(expected)
})

it('murmur2 of the bytes abc is that of Java', () => {
  expect(murmur2(Buffer.of(97, 98, 99))).toBe(479470107)
})

/** Keys of every length from 0 to 40, with every value of a byte. */
function* keys(count: number): Generator<Buffer> {
  let state = 1
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0)
  for (let index = 0; index < count; index++) yield Buffer.from(Array.from({ length: next() % 41 }, () => next() >>> 24))
}

it('100,000 keys land where the two clients that follow Java put them', () => {
  const partitions = 12
  const kafkajs = Partitioners.DefaultPartitioner()
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionId,
    leader: 1,
    partitionErrorCode: 0,
    replicas: [1],
    isr: [1],
  }))
  let differ = 0
  const used = new Set<number>()
  for (const key of keys(100_000)) {
    const ours = partitionOf(key, partitions)
    used.add(ours)
    if (ours !== kafkajs({ topic: 't', partitionMetadata, message: { key, value: null } })) differ++
    if (ours !== (compatibilityPartitioner({ topic: 't', value: key }, key) >>> 0) % partitions) differ++
  }
  expect(differ).toBe(0)
  expect(used.size).toBe(partitions)
}, 60_000)
