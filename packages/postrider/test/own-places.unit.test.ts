import { expect, test } from 'vitest'
import { ownPlaces } from '../src/own-places.ts'

const places = (url: string, directUrl: string | false, health: { host: string; port: number } | false): readonly string[] =>
  ownPlaces({ database: { url, directUrl, connections: 2 }, health })

test('the database, by both roads, and the probes are places of the relay; what no URL can reach is none', () => {
  const probes = { host: '0.0.0.0', port: 4_480 }
  expect(places('postgres://u:p@db.test/shop', 'postgres://u:p@direct.test:6432/shop', probes)).toEqual([
    'db.test:5432',
    'direct.test:6432',
    '0.0.0.0:4480',
  ])
  expect(places('postgres://u@[::1]:5433/shop', false, { host: '::1', port: 80 })).toEqual(['[::1]:5433', '[::1]:80'])
  expect(places('postgres://u@h/shop?host=10.0.0.7&port=5433', false, false)).toEqual(['10.0.0.7:5433'])
  expect(places('postgres://u@DB.Test/shop', 'postgres://u@127.1/shop', false)).toEqual(['db.test:5432', '127.0.0.1:5432'])
  for (const socket of [
    'postgres://u@db.1/shop',
    'postgres://%2Fvar%2Frun/shop',
    'postgres:///shop?host=/var/run',
    'socket:/var/run?db=shop',
  ])
    expect([socket, places(socket, false, { host: '127.0.0.1', port: 0 })]).toEqual([socket, []])
})
