import { limits, PostriderError, typePattern } from '@postrider/schema'
import type { Catalogue, OutputOf, TypeOf } from './catalogue.ts'
import { attributeFault } from './check.ts'

export interface WriterOptions<C extends Catalogue> {
  /** Which service the events come from, such as `shop/orders` (CloudEvents `source`), 1 to 512 characters. */
  readonly source: string
  /** Every event type that may be emitted, with a Standard Schema validator (zod, valibot, arktype, …) or `event<T>()`. */
  readonly events: C
  /** The ordering key of a type, made from its validated data: `{ 'order.placed': (order) => order.orderId }`. */
  readonly key?: KeyOf<C>
  /** Name of the PostgreSQL schema. Default `postrider`. */
  readonly schema?: string
}

/** For each type that has one, what makes its ordering key; undefined for an event without a key. */
export type KeyOf<C extends Catalogue> = { readonly [T in TypeOf<C>]?: (data: OutputOf<C[T]>) => string | undefined }

/** A name that needs no quoting, because it is put into the statement as it is. */
const schemaName = /^[a-z_][a-z0-9_]{0,40}$/

/** @throws PostriderError `invalid_options` with every problem. */
export function checkWriterOptions(options: WriterOptions<Catalogue>): void {
  const problems = [...problemsOf(options)]
  if (problems.length > 0) throw new PostriderError('invalid_options', `createWriter: ${problems.join('; ')}`, { problems })
}

function* problemsOf({ source, events, key = {}, schema = 'postrider', ...rest }: WriterOptions<Catalogue>): Iterable<string> {
  for (const name of Object.keys(rest)) yield `there is no option "${name}"`

  const fault = attributeFault(source, limits.attributeLength)
  if (fault !== undefined) yield `source ${fault}`

  if (typeof schema !== 'string' || !schemaName.test(schema)) {
    yield `schema is not a plain lower-case identifier of at most 41 letters, digits and _: ${JSON.stringify(schema)}`
  }

  for (const [type, validator] of Object.entries(events ?? {})) {
    if (!typePattern.test(type) || type.length > limits.typeLength) {
      yield `events: "${type}" is not one to ten segments of letters, digits and _, joined by dots, of at most ${limits.typeLength} characters`
    }
    if (typeof validator?.['~standard']?.validate !== 'function')
      yield `events: "${type}" has no Standard Schema validator; event<T>() is one for a bare type`
  }
  if (Object.keys(events ?? {}).length === 0) yield 'events is empty'

  for (const [type, makeKey] of Object.entries(key)) {
    if (!Object.hasOwn(events ?? {}, type)) yield `key: "${type}" is not in events`
    if (typeof makeKey !== 'function') yield `key: "${type}" has no function that makes a key`
  }
}
