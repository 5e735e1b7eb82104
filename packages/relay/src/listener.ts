import type { ClientConfig } from 'pg'
import pgListen from 'pg-listen'
import { within } from './wait.ts'

/** A session that hears the notifications of one channel, until it breaks. */
export interface Listener extends AsyncDisposable {
  readonly broken: boolean
}

/**
 * Opens a listening session. It does not reconnect by itself: whoever owns it notices that it is broken, by the callback
 * or because a probe does not come back, and opens another, for as long as the relay runs. (The library's own
 * reconnection gives up after some seconds, or can't be stopped.)
 */
export async function openListener(
  config: ClientConfig,
  channel: string,
  onMessage: (payload: string) => void,
  onBroken: (reason: string) => void,
): Promise<Listener> {
  const subscriber = createSubscriber(config, {
    parse: (payload: string) => payload,
    paranoidChecking: false,
    retryLimit: 1,
  })
  let broken = false
  subscriber.events.on('error', (error) => {
    if (broken) return
    broken = true
    onBroken(error.message)
  })
  subscriber.notifications.on(channel, (payload: string | undefined) => onMessage(payload ?? ''))
  const close = async (): Promise<void> => {
    broken = true
    // A half-open socket may never say goodbye.
    await within(1_000, subscriber.close())
  }
  try {
    await subscriber.connect()
    await subscriber.listenTo(channel)
  } catch (error) {
    await close()
    throw error
  }
  return {
    get broken() {
      return broken
    },
    [Symbol.asyncDispose]: close,
  }
}

// The library is CommonJS with a `default` member, which Node hands over as it is.
const createSubscriber = (
  typeof pgListen === 'function' ? pgListen : (pgListen as { default: unknown }).default
) as typeof pgListen.default
