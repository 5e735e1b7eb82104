/** The primitive types of Kafka's protocol, in their plain and their compact (flexible) forms. */

export class Reader {
  at = 0
  readonly bytes: Buffer
  /** Whether strings, arrays and byte strings are compact, and tagged fields follow. */
  flexible: boolean

  constructor(bytes: Buffer, flexible = false) {
    this.bytes = bytes
    this.flexible = flexible
  }

  take(length: number): Buffer {
    if (length < 0 || this.at + length > this.bytes.length)
      throw new RangeError(`${length} bytes at ${this.at} of ${this.bytes.length}`)
    return this.bytes.subarray(this.at, (this.at += length))
  }
  int8(): number {
    return this.take(1).readInt8()
  }
  int16(): number {
    return this.take(2).readInt16BE()
  }
  int32(): number {
    return this.take(4).readInt32BE()
  }
  int64(): bigint {
    return this.take(8).readBigInt64BE()
  }
  boolean(): boolean {
    return this.int8() !== 0
  }
  /** Up to 5 bytes, which is all that lengths need. */
  uvarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.take(1).readUInt8()
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new RangeError('a varint is too long')
  }
  varint(): number {
    const raw = this.uvarint()
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
  }
  varlong(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1).readUInt8()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n))
    }
    throw new RangeError('a varlong is too long')
  }
  /** Length of a string, byte string or array; -1 for null. */
  private length(plain: () => number): number {
    return this.flexible ? this.uvarint() - 1 : plain()
  }
  string(): string | null {
    const length = this.length(() => this.int16())
    return length < 0 ? null : this.take(length).toString()
  }
  byteString(): Buffer | null {
    const length = this.length(() => this.int32())
    return length < 0 ? null : this.take(length)
  }
  uuid(): string {
    return this.take(16).toString('hex')
  }
  /** null when the array is null. */
  array<T>(element: () => T): T[] | null {
    const length = this.length(() => this.int32())
    return length < 0 ? null : Array.from({ length }, element)
  }
  /** Skips the tagged fields, where there are any. */
  tags(): void {
    if (!this.flexible) return
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint()
      this.take(this.uvarint())
    }
  }
}

export class Writer {
  private readonly parts: Buffer[] = []
  private readonly flexible: boolean

  constructor(flexible = false) {
    this.flexible = flexible
  }

  get bytes(): Buffer {
    return Buffer.concat(this.parts)
  }
  raw(bytes: Buffer): this {
    this.parts.push(bytes)
    return this
  }
  private fixed(size: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.allocUnsafe(size)
    write(buffer)
    return this.raw(buffer)
  }
  int8(value: number): this {
    return this.fixed(1, (buffer) => buffer.writeInt8(value))
  }
  int16(value: number): this {
    return this.fixed(2, (buffer) => buffer.writeInt16BE(value))
  }
  int32(value: number): this {
    return this.fixed(4, (buffer) => buffer.writeInt32BE(value))
  }
  int64(value: bigint): this {
    return this.fixed(8, (buffer) => buffer.writeBigInt64BE(value))
  }
  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0)
  }
  uvarint(value: number): this {
    const bytes: number[] = []
    let left = value
    for (; left > 0x7f; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80)
    return this.raw(Buffer.from([...bytes, left]))
  }
  string(value: string | null): this {
    const bytes = value === null ? null : Buffer.from(value)
    if (this.flexible) this.uvarint(bytes === null ? 0 : bytes.length + 1)
    else this.int16(bytes?.length ?? -1)
    return bytes === null ? this : this.raw(bytes)
  }
  byteString(value: Buffer | null): this {
    if (this.flexible) this.uvarint(value === null ? 0 : value.length + 1)
    else this.int32(value?.length ?? -1)
    return value === null ? this : this.raw(value)
  }
  uuid(hex: string): this {
    return this.raw(Buffer.from(hex, 'hex'))
  }
  array<T>(values: readonly T[], element: (value: T) => unknown): this {
    if (this.flexible) this.uvarint(values.length + 1)
    else this.int32(values.length)
    for (const value of values) element(value)
    return this
  }
  /** No tagged fields, said where the version has room for them. */
  tags(): this {
    return this.flexible ? this.uvarint(0) : this
  }
}

/** Cuts a stream of bytes into frames: each a length of four bytes, and so many bytes. */
export function frames(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE()) {
      const end = 4 + rest.readInt32BE()
      onFrame(rest.subarray(4, end))
      rest = rest.subarray(end)
    }
  }
}

export function frame(body: Buffer): Buffer {
  return Buffer.concat([new Writer().int32(body.length).bytes, body])
}
