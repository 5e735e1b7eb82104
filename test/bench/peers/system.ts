import type pg from 'pg'

/** What a job carries; about 300 bytes of JSON. */
export interface Payload {
  readonly n: number
  readonly pad: string
}

export interface Job {
  /** The jobs of a key belong in order, to a system that keeps one. */
  readonly key: string
  readonly payload: Payload
}

/** What a worker is to do with each job. */
export interface Work {
  /** Does one job; a rejection is a failed attempt. */
  readonly handle: (payload: Payload) => Promise<void>
  /** Jobs in hand at once, where a system is set by that. */
  readonly concurrency: number
  /** Where each job is to be POSTed, for a system that does that by itself; null: it calls `handle`. */
  readonly target: string | null
}

/** What a service opens that only writes. */
export interface Producer extends AsyncDisposable {
  /** One job, in the transaction that is open on this connection. */
  enqueue(client: pg.ClientBase, job: Job): Promise<void>
  /** Many jobs in one statement, in the way that the system has for it. */
  enqueueMany(client: pg.ClientBase, jobs: readonly Job[]): Promise<void>
}

/**
 * Something that hands jobs from the transaction that wrote them to a handler: Postrider, or a peer.
 * Each is set as its own documentation advises, which its module names.
 */
export interface System {
  readonly version: string
  /** How it is set, in words. */
  readonly settings: string
  /** Makes its tables in a database that it has for itself. */
  prepare(url: string): Promise<void>
  produce(url: string): Promise<Producer>
  /** Starts a worker; disposing of it lets jobs in hand end. */
  work(url: string, work: Work): Promise<AsyncDisposable>
}

/** Set for one purpose: `ordered` gives its best order per key, otherwise its best speed. */
export type OpenSystem = (ordered: boolean) => Promise<System>

/** What the jobs are called in every system. */
export const queueName = 'bench'
