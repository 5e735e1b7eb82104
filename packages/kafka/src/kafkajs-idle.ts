import type { Connection } from './kafkajs-internals.ts'

/**
 * kafkajs 2.2.4 sets a timer of 1 ms again and again on each connection that is idle (a negative timeout, of which Node 24 also
 * warns). Its queue need not be looked at when nothing waits in it: what waits because too much is in flight is looked at
 * with each answer. Changes this connection only, not what others in the process have of kafkajs.
 */
export function restWhenIdle({ requestQueue }: Connection): void {
  const schedule = requestQueue.scheduleCheckPendingRequests.bind(requestQueue)
  requestQueue.scheduleCheckPendingRequests = () => {
    if (requestQueue.pending.length > 0) schedule()
  }
}
