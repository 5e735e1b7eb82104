import { requireTransaction, run, type TransactionHandle } from '@postrider/schema'
import { type Catalogue, type InputOf, outputOf, type StandardSchema, type TypeOf } from './catalogue.ts'
import type { EmitOptions } from './check.ts'
import { type Defaults, type Encoded, encodeEvent } from './encode.ts'
import { checkWriterOptions, type WriterOptions } from './options.ts'
import { refuse } from './refuse.ts'
import { translate } from './translate.ts'

/** One event of `emitMany`. */
export type EventOf<C extends Catalogue> = {
  readonly [T in TypeOf<C>]: { readonly type: T; readonly data: InputOf<C[T]> } & EmitOptions
}[TypeOf<C>]

/**
 * Writes events in the transaction of your business rows: they exist if and only if it commits.
 *
 * Nothing is sent when any event of a call is bad: PostriderError `unknown_type`, `invalid_event`, `invalid_payload` or
 * `payload_too_large`, with index, type, path and limit in `details`. A handle that is no transaction is `not_in_transaction`,
 * a database without the migrations `schema_missing`. Any other error of the database comes as it is.
 * The transaction is yours: after an error roll it back.
 *
 * With validators that answer at once, the statement is handed to the driver before the call returns.
 */
export interface Writer<C extends Catalogue> {
  /** Writes one event and returns its id. A `Uint8Array` is stored as bytes, all else as JSON; at most 256 KiB. */
  emit<T extends TypeOf<C>>(trx: TransactionHandle, type: T, data: InputOf<C[T]>, options?: EmitOptions): Promise<string>
  /** Writes any number of events, in this order, in one round trip, and returns their ids. No events: no query. */
  emitMany(trx: TransactionHandle, events: readonly EventOf<C>[]): Promise<string[]>
}

/** An event of a call as it was given: the types of a catalogue hold only for callers that a compiler has checked. */
interface Draft extends EmitOptions {
  readonly type: string
  readonly data: unknown
}

interface Entry extends Defaults {
  readonly schema: StandardSchema
}

/**
 * A writer for the events of a catalogue.
 *
 * ```ts
 * const outbox = createWriter({
 *   source: 'shop/orders',
 *   events: { 'order.placed': z.object({ orderId: z.string(), total: z.number() }) },
 *   key: { 'order.placed': (order) => order.orderId },
 * })
 *
 * await db.transaction().execute(async (trx) => {
 *   await trx.insertInto('orders').values(order).execute()
 *   await outbox.emit(trx, 'order.placed', { orderId: order.id, total: 3 })
 * })
 * ```
 *
 * @throws PostriderError `invalid_options` with every problem of the options.
 */
export function createWriter<C extends Catalogue>(options: WriterOptions<C>): Writer<C> {
  checkWriterOptions(options)
  const { events, source, schema = 'postrider' } = options
  const statement = `select ${schema}.emit($1::text::jsonb)`
  const makeKeys: ReadonlyMap<string, Defaults['makeKey']> = new Map(Object.entries(options.key ?? {}))
  const entries: ReadonlyMap<string, Entry> = new Map(
    Object.entries(events).map(([type, validator]) => [
      type,
      { schema: validator, source: JSON.stringify(source), makeKey: makeKeys.get(type) },
    ]),
  )

  async function write(trx: TransactionHandle, drafts: readonly Draft[]): Promise<string[]> {
    const ready: Encoded[] = []
    for (const [index, draft] of drafts.entries()) {
      const place = { index, type: draft.type }
      const entry =
        entries.get(draft.type) ??
        refuse('unknown_type', place, `this type is not in the catalogue (${[...entries.keys()].join(', ')})`)
      const answer = entry.schema['~standard'].validate(draft.data)
      const data = outputOf(answer instanceof Promise ? await answer : answer, place)
      ready.push(encodeEvent(data, draft, entry, place))
    }
    // Here and not at the start, because an asynchronous validator may outlive the transaction.
    requireTransaction(trx, 'emit')
    if (ready.length === 0) return []
    try {
      await run(trx, statement, [`[${ready.map(({ json }) => json).join(',')}]`], 'postrider.emit')
    } catch (error) {
      throw translate(error, schema, ready)
    }
    return ready.map(({ id }) => id)
  }

  return {
    async emit(trx, type, data, more) {
      const [id] = await write(trx, [{ ...more, type, data }])
      return id as string
    },
    emitMany: async (trx, drafts) => await write(trx, drafts),
  }
}
