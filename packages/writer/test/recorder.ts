import type { QueryTransaction } from '../src/index.ts'

export interface Recorder {
  readonly trx: QueryTransaction
  readonly sent: { readonly text: string; readonly json: string }[]
  /** All events that were sent, parsed. */
  readonly events: () => Record<string, unknown>[]
}

/** The smallest handle there is: what the writer hands to it is what a database would get. */
export function recorder(): Recorder {
  const sent: { text: string; json: string }[] = []
  return {
    trx: {
      query: async (text, [json = '', ...more]) => {
        if (more.length > 0) throw new Error('more than one parameter')
        sent.push({ text, json })
      },
    },
    sent,
    events: () => sent.flatMap(({ json }) => JSON.parse(json) as Record<string, unknown>[]),
  }
}
