import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** A way to a server on 127.0.0.1 that can be spoilt. */
export interface Proxy extends AsyncDisposable {
  readonly port: number
  /** Connections from here on lead there. */
  lead(port: number): void
  /** Breaks every connection, as a firewall does that sends resets. */
  reset(): void
  /** Nothing gets through, and nobody is told: the connections of now for ever, new ones work. */
  forget(): void
  /** Nothing gets through, and nobody is told, until `join`; then what was held back arrives. */
  part(): void
  join(): void
  /** Every piece takes so long to get through, in each direction; 0: no time. */
  slow(ms: number): void
}

interface Link {
  readonly near: Socket
  readonly far: Socket
  forgotten: boolean
}

export async function startProxy(port: number): Promise<Proxy> {
  const links = new Set<Link>()
  const waiting = new Set<() => void>()
  let target = port
  let parted = false
  let delayMs = 0

  const carry = (link: Link, from: Socket, to: Socket): void => {
    let last = Promise.resolve()
    let held = 0
    const hold = async (data: Buffer, due: number): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())))
      while (parted) await new Promise<void>((resolve) => waiting.add(resolve))
      held--
      if (!link.forgotten) to.write(data)
    }
    from.on('data', (data: Buffer) => {
      if (link.forgotten) return
      if (!parted && delayMs === 0 && held === 0) {
        to.write(data)
        return
      }
      held++
      const due = performance.now() + delayMs
      last = last.then(() => hold(data, due))
    })
    from.on('end', () => void last.then(() => link.forgotten || to.end()))
    from.on('error', () => {}) // its close follows
    from.on('close', () => {
      if (link.forgotten) return
      links.delete(link)
      void last.then(() => to.destroy())
    })
  }
  const server = createServer((near) => {
    const far = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true })
    const link = { near, far, forgotten: false }
    links.add(link)
    carry(link, near, far)
    carry(link, far, near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const join = (): void => {
    parted = false
    for (const wake of waiting) wake()
    waiting.clear()
  }
  return {
    port: (server.address() as AddressInfo).port,
    lead(port) {
      target = port
    },
    reset() {
      for (const { near, far } of links) {
        near.resetAndDestroy()
        far.resetAndDestroy()
      }
    },
    forget() {
      for (const link of links) link.forgotten = true
    },
    part() {
      parted = true
    },
    join,
    slow(ms) {
      delayMs = ms
    },
    async [Symbol.asyncDispose]() {
      join()
      server.close()
      for (const { near, far } of links) {
        near.destroy()
        far.destroy()
      }
    },
  }
}
