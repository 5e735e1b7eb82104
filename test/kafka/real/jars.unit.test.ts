import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { classPath, type Lock } from './jars.ts'

const bytes = Buffer.from('what a jar holds')
const sha256 = createHash('sha256').update(bytes).digest('hex')
const lock: Lock = { version: '1', jars: [{ path: 'org/some/1/some-1.jar', size: bytes.length, sha256 }] }

async function serving(listener: RequestListener): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/maven2/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function newCache(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'postrider-jars-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

test('a jar is fetched once, by its path, and then kept', async () => {
  const asked: (string | undefined)[] = []
  await using server = await serving((request, response) => {
    asked.push(request.url)
    response.end(bytes)
  })
  await using cache = await newCache()
  const [jar = ''] = await classPath(cache.path, lock, server.url)
  expect(await readFile(jar)).toEqual(bytes)
  await classPath(cache.path, lock, server.url)
  expect(asked).toEqual(['/maven2/org/some/1/some-1.jar'])
})

test('a fetch that fails is tried again', async () => {
  let asked = 0
  await using server = await serving((_request, response) => {
    if (++asked === 1) response.writeHead(503).end()
    else if (asked === 2) response.destroy()
    else response.end(bytes)
  })
  await using cache = await newCache()
  await classPath(cache.path, lock, server.url)
  expect(asked).toBe(3)
})

test('bytes that do not match the lock are never kept', async () => {
  await using server = await serving((_request, response) => response.end('what a thief holds'))
  await using cache = await newCache()
  await expect(classPath(cache.path, lock, server.url)).rejects.toThrow(`${sha256} was expected`)
  expect(await readdir(cache.path)).toEqual([])
})

test('two runs may fill the cache at once', async () => {
  await using server = await serving((_request, response) => setTimeout(() => response.end(bytes), 20))
  await using cache = await newCache()
  await Promise.all([classPath(cache.path, lock, server.url), classPath(cache.path, lock, server.url)])
  expect(await readdir(cache.path)).toEqual(['some-1.jar'])
})
