/** No secret stands in an error: not in its message, its details, its stack, nor in what caused it. */
import { inspect } from 'node:util'
import { createKafkaSink } from '@postrider/kafka'
import { createVerifier } from '@postrider/inbox'
import {
  createSealer,
  createWebhookEndpoints,
  createWebhookSink,
  generateSealKey,
  generateSecret,
  type WebhookOptions,
} from '@postrider/webhook'
import { expect, test } from 'vitest'
import { sql } from 'kysely'
import { loadConfig } from '../src/config/load.ts'
import { openDatabase, openSession } from '../src/connect.ts'
import { createCanaries } from './canary.ts'
import { temporaryDirectory } from './directory.ts'
import { runProgram } from './program.ts'

test('a canary is seen in clear and merely encoded, and nowhere else', () => {
  const canaries = createCanaries()
  const token = canaries.plant('a')
  const secret = canaries.add('b', generateSecret())
  const basic = Buffer.from(`user:${token}`).toString('base64')
  const said = [
    token,
    `x${token}y`,
    JSON.stringify({ a: token }),
    basic,
    Buffer.from(token).toString('hex'),
    encodeURIComponent(token),
  ]
  for (const text of said) canaries.heard('here', text)
  for (const text of [secret, Buffer.from(secret.slice(6), 'base64').toString('hex')]) canaries.heard('there', text)
  for (const text of ['', 'canary', token.slice(0, -1), secret.slice(0, 30)]) canaries.heard('nowhere', text)
  expect(canaries.found()).toEqual([...said.map(() => 'here: a'), 'there: b', 'there: b'])
})

test('no error of the libraries holds a secret', async () => {
  const canaries = createCanaries()
  const hear = async (where: string, work: () => unknown): Promise<void> => {
    try {
      await work()
    } catch (error) {
      canaries.heard(
        where,
        `${inspect(error, { depth: 12, showHidden: true, getters: true })}${error instanceof Error ? error.stack : ''}`,
      )
      return
    }
    throw new Error(`${where}: nothing was refused`)
  }
  const password = canaries.plant('database-password')
  const signing = canaries.add('signing-secret', generateSecret())
  const header = canaries.plant('header')
  const path = canaries.plant('path')
  const sasl = canaries.plant('sasl-password')
  const seal = canaries.add('seal-key', generateSealKey())
  const basic = canaries.plant('basic-auth')

  const good = {
    name: 'shop',
    url: `https://example.com/${path}`,
    secrets: { current: signing },
    headers: { authorization: header },
  }
  const webhook: readonly [where: string, change: Partial<WebhookOptions>][] = [
    ['url with a user', { url: `https://user:${basic}@example.com/${path}` }],
    ['url that is none', { url: `//${basic}/${path}` }],
    ['url inside', { url: `https://10.0.0.1/${path}` }],
    ['url too long', { url: `https://example.com/${path}${'x'.repeat(3_000)}` }],
    ['secret cut off', { secrets: { current: signing.slice(0, -3) } }],
    ['secret without its prefix', { secrets: { current: signing.slice(6) } }],
    ['two secrets', { secrets: { current: [signing, signing] } }],
    ['former secret', { secrets: { current: signing, previous: [{ secret: `${signing}x`, until: 'soon' }] } }],
    ['header broken', { headers: { authorization: `${header}\r\nx: y` } }],
    ['header reserved', { headers: { host: header } }],
    ['key of TLS', { tls: { cert: 'x', key: `-----BEGIN PRIVATE KEY-----\n${basic}\n-----END PRIVATE KEY-----` } }],
    ['unknown option', { ...({ retries: header } as object) }],
  ]
  for (const [where, change] of webhook) await hear(`webhook, ${where}`, () => createWebhookSink({ ...good, ...change }))
  await hear('seal key cut off', () => createSealer({ current: seal.slice(1) }))
  await hear('endpoints, seal key', () => createWebhookEndpoints({ name: 'hooks', secretKey: `${seal}x` }))
  const sealed = createSealer({ current: seal }).seal(header, 'hooks/acme')
  await hear('sealed for another place', () => createSealer({ current: seal }).open(sealed, 'hooks/other'))
  await hear('endpoint, a secret in clear', () =>
    createWebhookEndpoints({ name: 'hooks', secretKey: seal }).open({
      name: 'hooks/acme',
      settings: {
        url: `https://user:${basic}@example.com/${path}`,
        secrets: { current: [`x${signing}`] },
        headers: { host: header },
        format: null,
      },
    }),
  )
  await hear('verifier', () => createVerifier({ secrets: [signing.slice(0, -2)] }))
  const kafka = {
    name: 'stream',
    brokers: ['127.0.0.1:1'],
    source: 's',
    sasl: { mechanism: 'plain', username: 'u', password: sasl },
  } as const
  await hear('kafka, broker with a password', () => createKafkaSink({ ...kafka, brokers: [`user:${sasl}@kafka:9092`] }))
  await hear('kafka, mechanism', () => createKafkaSink({ ...kafka, sasl: { ...kafka.sasl, mechanism: 'none' as 'plain' } }))
  await hear('kafka, key of TLS', () => createKafkaSink({ ...kafka, tls: { key: sasl, cert: sasl } }))

  const target = {
    database: { url: `postgres://relay:${password}@127.0.0.1:1/shop?password=${password}`, directUrl: false, connections: 2 },
    schema: 'postrider',
  } as const
  await using database = openDatabase(target, 'test')
  await hear('database away', () => database.transaction((trx) => sql`select 1`.execute(trx)))
  await hear('database away, session', () => openSession(target))
  expect(canaries.found()).toEqual([])
  expect(canaries.places).toBeGreaterThan(20)
})

test('no complaint about a configuration holds a secret, wherever somebody has put it', async () => {
  const canaries = createCanaries()
  await using directory = await temporaryDirectory()
  const signing = canaries.add('signing-secret', generateSecret())
  const token = canaries.plant('token')
  const password = canaries.plant('database-password')
  const sink = { kind: 'webhook', url: `https://example.com/${token}`, secrets: { current: '${env:SIGNING}' } }
  const database = { url: `postgres://relay:${password}@127.0.0.1:1/shop` }
  const contents: Readonly<Record<string, unknown>> = {
    'secret in clear.json': { database, sinks: { a: { ...sink, secrets: { current: signing } } } },
    'user in the url.json': { database, sinks: { a: { ...sink, url: `https://user:${token}@example.com/` } } },
    'number for a text.json': { database, sinks: { a: { ...sink, headers: { a: [token] } } } },
    'no url of a database.json': { database: { url: `mysql://relay:${password}@h/db` }, sinks: { a: sink } },
    'percent.json': {
      database: { url: `postgres://relay:${password}%zz@127.0.0.1:1/shop` },
      sinks: { a: { ...sink, trust: 'x' } },
    },
    'sasl in clear.json': {
      database,
      sinks: { k: { kind: 'kafka', brokers: ['h:1'], sasl: { mechanism: 'plain', username: 'u', password: token } } },
    },
    'seal key in clear.json': {
      database,
      sinks: { h: { kind: 'webhook', endpoints: { secretKey: canaries.add('seal-key', generateSealKey()) } } },
    },
    'broken.json': `{"database": {"url": "postgres://relay:${password}@h/db"}, "sinks": ${token}\n}`,
    'broken too.json': `{"database": {"url": "postgres://relay:${password}@h/db"\n"x": 1}}`,
    'alias.yaml': `database:\n  url: *${password}\n`,
    'tag.yaml': `database:\n  url: !${password} x\n`,
    'block.yaml': `database:\n  url: |${password}\n    x\n`,
    'colon.yaml': `database:\n  url: ${password}: ${token}: x\n`,
    'quote.yaml': `database:\n  url: "${password}\\q${token}"\n`,
  }
  for (const [name, content] of Object.entries(contents)) {
    const file = await directory.write(name, content)
    const error: unknown = await loadConfig({ config: file }, { env: { SIGNING: signing } }).catch((reason: unknown) => reason)
    expect([name, error]).toMatchObject([name, { code: 'invalid_options' }])
    canaries.heard(name, inspect(error, { depth: 12, showHidden: true }))
  }
  // The program itself too, with the warnings of libraries that no exception shows.
  for (const name of ['tag.yaml', 'alias.yaml', 'block.yaml', 'broken.json', 'user in the url.json']) {
    const { code, stdout, stderr } = await runProgram(['start', '--config', name], {
      directory: directory.path,
      env: { SIGNING: signing },
    })
    expect([name, code]).toEqual([name, 2])
    canaries.heard(`start --config ${name}`, stdout + stderr)
  }
  expect(canaries.found()).toEqual([])
})
