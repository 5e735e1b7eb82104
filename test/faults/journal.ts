import { openSync, readSync, closeSync } from 'node:fs'
import type { Receipt } from './history.ts'

/** What receivers write, one line for each event that they take, before they answer; it outlives them. Read while it grows. */
export class Journal implements Disposable {
  readonly path: string
  readonly #file: number
  readonly #receipts: Receipt[] = []
  #offset = 0
  #rest = ''

  constructor(path: string) {
    this.path = path
    this.#file = openSync(path, 'a+')
  }

  get receipts(): readonly Receipt[] {
    this.#read()
    return this.#receipts
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  #read(): void {
    const buffer = Buffer.alloc(1 << 16)
    const chunks: Buffer[] = []
    for (;;) {
      const length = readSync(this.#file, buffer, 0, buffer.length, this.#offset)
      if (length === 0) break
      this.#offset += length
      chunks.push(Buffer.from(buffer.subarray(0, length)))
    }
    if (chunks.length === 0) return
    const lines = (this.#rest + Buffer.concat(chunks).toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#receipts.push(JSON.parse(line) as Receipt)
  }
}
