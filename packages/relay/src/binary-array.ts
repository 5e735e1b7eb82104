/** A column of a page as PostgreSQL's binary form of an array: half the work of its text, on both sides. */
interface Element {
  readonly oid: number
  readonly bytes: number
}

const int8: Element = { oid: 20, bytes: 8 }
const int4: Element = { oid: 23, bytes: 4 }
const float4: Element = { oid: 700, bytes: 4 }
const uuid: Element = { oid: 2950, bytes: 16 }

/** One dimension, no nulls, counted from 1. */
const headBytes = 20

function arrayOf<T>(
  { oid, bytes }: Element,
  items: readonly T[],
  write: (array: Buffer, item: T, offset: number) => void,
): Buffer {
  const array = Buffer.allocUnsafe(headBytes + items.length * (4 + bytes))
  array.writeInt32BE(1, 0)
  array.writeInt32BE(0, 4)
  array.writeInt32BE(oid, 8)
  array.writeInt32BE(items.length, 12)
  array.writeInt32BE(1, 16)
  let offset = headBytes
  for (const item of items) {
    array.writeInt32BE(bytes, offset)
    write(array, item, offset + 4)
    offset += 4 + bytes
  }
  return array
}

/** `bigint[]` */
export function int8Array<T>(items: readonly T[], value: (item: T) => bigint): Buffer {
  return arrayOf(int8, items, (array, item, offset) => {
    const number = Number(value(item))
    // Few are beyond, and bigints are slow.
    if (number < 0 || number > Number.MAX_SAFE_INTEGER) array.writeBigInt64BE(value(item), offset)
    else {
      array.writeUInt32BE(Math.floor(number / 2 ** 32), offset)
      array.writeUInt32BE(number >>> 0, offset + 4)
    }
  })
}

/** `int[]` */
export function int4Array<T>(items: readonly T[], value: (item: T) => number): Buffer {
  return arrayOf(int4, items, (array, item, offset) => array.writeInt32BE(value(item), offset))
}

/** `real[]` */
export function float4Array<T>(items: readonly T[], value: (item: T) => number): Buffer {
  return arrayOf(float4, items, (array, item, offset) => array.writeFloatBE(value(item), offset))
}

/** `uuid[]`, of the form in which PostgreSQL writes a uuid. */
export function uuidArray<T>(items: readonly T[], value: (item: T) => string): Buffer {
  return arrayOf(uuid, items, (array, item, offset) => writeUuid(array, value(item), offset))
}

const hyphen = 0x2d

function writeUuid(array: Buffer, text: string, offset: number): void {
  let at = offset
  for (let index = 0; index < 36; index += 2) {
    if (text.charCodeAt(index) === hyphen) index++
    array[at++] = (digit(text.charCodeAt(index)) << 4) | digit(text.charCodeAt(index + 1))
  }
}

function digit(code: number): number {
  return code < 0x3a ? code - 0x30 : code - 0x57
}
