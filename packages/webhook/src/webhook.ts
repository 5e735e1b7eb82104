import type { Attempt, Outcome, Replay, Sink } from '@postrider/relay'
import { isPostriderError, type ErrorCode } from '@postrider/schema'
import { createCapture } from './capture.ts'
import { classifyAnswer, classifyFailure } from './classify.ts'
import { encode } from './encode.ts'
import type { Ended } from './exchange.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { hopsOf } from './hops.ts'
import { checkOptions } from './check-options.ts'
import type { WebhookOptions } from './options.ts'
import { createPoster, type PostRequest } from './post.ts'
import { reach } from './reach.ts'
import { createSigner } from './sign.ts'

/** The total deadline ends an attempt; this is for an event loop that is late. */
const deadlineMarginMs = 1_000

/**
 * A sink that sends a signed POST for every event (Standard Webhooks 1.0.0), and gets an answer within its total deadline
 * whatever the destination does. Redirects are never followed, answers never inflated.
 * `webhook-id` is the event's id, the same on every attempt; timestamp and signature are new on each. A replay says so
 * with `postrider-replay`, and with `postrider-original-id` where it gives the event a new id.
 * Throws `invalid_options` with all problems together. Dispose of it to close its connections.
 */
export function createWebhookSink(options: WebhookOptions): Sink {
  const settings = checkOptions(options)
  const sign = createSigner(settings.current, settings.previous)
  const capture = createCapture(settings)
  const poster = createPoster(settings)
  const fixed = fixedHeaders(settings)

  function prepare({ event, number, replay }: Attempt): PostRequest {
    const { body, headers } = encode(event, settings.format)
    const timestamp = Math.floor(Date.now() / 1000)
    // One array, filled: this is done for every request.
    const all = [...fixed]
    all.push(...headers, 'webhook-id', event.id, 'webhook-timestamp', String(timestamp))
    all.push('webhook-signature', sign({ id: event.id, timestamp, body }), 'postrider-attempt', String(number))
    if (replay !== undefined) all.push(...replayHeaders(replay))
    return { body, headers: all }
  }

  function judge(ended: Ended): Outcome {
    if (!ended.answered) return { ...classifyFailure(ended.error), detail: capture(ended) }
    const answer = {
      status: ended.status,
      retryAfter: one(ended.headers['retry-after']),
      never: one(ended.headers['postrider-retry'])?.trim().toLowerCase() === 'never',
    }
    const outcome = classifyAnswer(answer, settings.permanentStatuses, Date.now())
    // The straight road writes nothing beyond its status.
    return outcome.kind === 'delivered' && settings.capture !== 'all' ? outcome : { ...outcome, detail: capture(ended) }
  }

  return {
    name: settings.name,
    kind: 'webhook',
    deadlineMs: settings.timeouts.totalMs + deadlineMarginMs,
    deliver(attempt, signal) {
      const hops = hopsOf(attempt.event.headers['tracestate'])
      if (hops >= settings.maxHops) return rejected('loop', `${hops} webhooks led to it`)
      let request: PostRequest
      try {
        request = prepare(attempt)
      } catch (error) {
        if (!isPostriderError(error) || error.code !== 'cannot_encode') return Promise.reject(error)
        return rejected(error.code, error.message)
      }
      return poster.post(request, signal).then(judge)
    },
    reach: (signal) => reach(settings, signal),
    [Symbol.asyncDispose]: () => poster[Symbol.asyncDispose](),
  }
}

function rejected(code: ErrorCode, message: string): Promise<Outcome> {
  return Promise.resolve({ kind: 'reject', error: { code, message } })
}

/** So that a receiver can tell that an operator sends the event once more, and which event it was. */
function replayHeaders({ operation, originalId }: Replay): string[] {
  return ['postrider-replay', operation, ...(originalId === null ? [] : ['postrider-original-id', originalId])]
}

function one(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
