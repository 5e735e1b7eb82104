import { isBoxedPrimitive, isDate } from 'node:util/types'

/** Told the keys that lead from the root to the value that JSON in PostgreSQL cannot hold, and what is wrong with it. */
export type Refuse = (keys: readonly (string | number)[], reason: string) => never

interface Walk {
  /** The containers around the value, outermost first, and the key of each in its own container. */
  readonly parents: object[]
  readonly keys: (string | number)[]
  readonly refuse: Refuse
}

/** Consumers' parsers commonly stop at a thousand levels or fewer; PostgreSQL's own stack allows some thousand more. */
const deepest = 1000

const mustEscape = /[\u0000-\u001f"\\\ud800-\udfff]/

/** Kinds that JSON.stringify would turn into `{}` without a word. */
const formless: ReadonlySet<string> = new Set([
  'Map',
  'Set',
  'WeakMap',
  'WeakSet',
  'WeakRef',
  'Promise',
  'Error',
  'RegExp',
  'Date',
  'ArrayBuffer',
  'SharedArrayBuffer',
])

/**
 * JSON text of a value, as JSON.stringify would write it, but exact or not at all:
 * a BigInt becomes a number with all its digits, and whatever JSON in PostgreSQL cannot hold is refused with its path
 * instead of turning into `null`, into `{}`, or into nothing. Members that are `undefined` are left out.
 *
 * One walk that checks and writes, so that what was checked is what is written (a getter or a `toJSON` runs once).
 * About twice the time of JSON.stringify: 1.5 µs for an order of 220 bytes.
 */
export function encodeJson(value: unknown, refuse: Refuse): string {
  return write(value, '', { parents: [], keys: [], refuse })
}

/** A JSON string, or undefined when PostgreSQL could not hold the text; {@link unfit} says why. */
export function quote(text: string): string | undefined {
  if (!mustEscape.test(text)) return `"${text}"`
  return unfit(text) === undefined ? JSON.stringify(text) : undefined
}

/** Why `text` and `jsonb` cannot hold this string, or undefined. */
export function unfit(text: string): string | undefined {
  const nul = text.indexOf('\0')
  if (nul !== -1) return `holds a NUL character (at ${nul}), which PostgreSQL cannot store`
  if (!text.isWellFormed()) return 'holds half of a surrogate pair, which is no Unicode text'
  return undefined
}

function write(value: unknown, key: string | number, walk: Walk): string {
  switch (typeof value) {
    case 'string':
      return quote(value) ?? fail(walk, key, unfit(value))
    case 'number':
      return Number.isFinite(value) ? `${value}` : fail(walk, key, `is ${value}, which JSON cannot hold`)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return `${value}`
    case 'object':
      return value === null ? 'null' : writeObject(value, key, walk)
    case 'undefined':
      return fail(walk, key, 'is undefined')
    default:
      return fail(walk, key, `is a ${typeof value}, which JSON cannot hold`)
  }
}

function writeObject(value: object, key: string | number, walk: Walk): string {
  if (ArrayBuffer.isView(value)) return fail(walk, key, 'is binary: send it as the whole payload, or as text in base64')
  const { toJSON } = value as { toJSON?: unknown }
  if (typeof toJSON !== 'function') return writeContainer(value, key, walk)
  if (isDate(value) && Number.isNaN(value.getTime())) return fail(walk, key, 'is an invalid date')
  const replaced: unknown = toJSON.call(value, `${key}`)
  return typeof replaced === 'object' && replaced !== null ? writeContainer(replaced, key, walk) : write(replaced, key, walk)
}

function writeContainer(value: object, key: string | number, walk: Walk): string {
  const { parents, keys } = walk
  if (parents.includes(value)) return fail(walk, key, 'contains itself')
  if (parents.length === deepest) return fail(walk, key, `is nested deeper than ${deepest} levels`)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== Array.prototype) {
    const special = writeSpecial(value, key, walk)
    if (special !== undefined) return special
  }

  parents.push(value)
  keys.push(key)
  const text = Array.isArray(value) ? writeArray(value, walk) : writeMembers(value as Record<string, unknown>, walk)
  parents.pop()
  keys.pop()
  return text
}

function writeArray(array: readonly unknown[], walk: Walk): string {
  let text = ''
  for (let i = 0; i < array.length; i++) text += (i === 0 ? '[' : ',') + write(array[i], i, walk)
  return text === '' ? '[]' : `${text}]`
}

function writeMembers(object: Readonly<Record<string, unknown>>, walk: Walk): string {
  let text = ''
  for (const name of Object.keys(object)) {
    const member = object[name]
    if (member === undefined) continue
    const label = quote(name) ?? fail(walk, name, `has a name that ${unfit(name)}`)
    text += `${text === '' ? '{' : ','}${label}:${write(member, name, walk)}`
  }
  return text === '' ? '{}' : `${text}}`
}

/** Objects that are not what their members say; undefined for those that are, such as instances of plain classes. */
function writeSpecial(value: object, key: string | number, walk: Walk): string | undefined {
  if (isBoxedPrimitive(value)) return write(value.valueOf(), key, walk)
  const kind = Object.prototype.toString.call(value).slice('[object '.length, -1)
  if (formless.has(kind)) return fail(walk, key, `is an object of type ${kind}, which JSON cannot hold`)
  const raw = rawJson(value)
  if (raw === undefined) return undefined
  // A raw string may hide a NUL behind an escape.
  return raw.startsWith('"') ? write(JSON.parse(raw), key, walk) : raw
}

/** The text within an object of `JSON.rawJSON`, which TypeScript does not declare yet. */
function rawJson(value: object): string | undefined {
  const { isRawJSON } = JSON as { isRawJSON?: (value: unknown) => boolean }
  return isRawJSON?.(value) === true ? (value as { rawJSON: string }).rawJSON : undefined
}

function fail(walk: Walk, key: string | number, reason = 'cannot be stored'): never {
  return walk.refuse(walk.parents.length === 0 ? [] : [...walk.keys.slice(1), key], reason)
}
