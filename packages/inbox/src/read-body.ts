import { PostriderError } from '@postrider/schema'
import { within } from './deadline.ts'

/** The stream is left open, because the answer still has to go out on it. */
export interface BodySource {
  readonly chunks: AsyncIterator<unknown>
  /** As the request says, or undefined. */
  readonly contentLength: string | undefined
}

/**
 * Reads a body to its end, up to a limit and a deadline.
 *
 * @throws PostriderError `body_too_large`, `body_incomplete`, `body_parsed`
 */
export async function readBody({ chunks, contentLength }: BodySource, maxBytes: number, deadlineMs: number): Promise<Buffer> {
  if (Number(contentLength ?? 0) > maxBytes) throw tooLarge(maxBytes)
  const parts: Uint8Array[] = []
  const read = async (): Promise<Buffer> => {
    let size = 0
    for (;;) {
      const { done, value } = await next(chunks)
      if (done) return Buffer.concat(parts)
      if (!(value instanceof Uint8Array)) throw bodyParsed('the stream was told to decode its bytes')
      size += value.length
      if (size > maxBytes) throw tooLarge(maxBytes)
      parts.push(value)
    }
  }
  return await within(read(), deadlineMs, () => incomplete(`the body did not come within ${deadlineMs} ms`))
}

async function next(chunks: AsyncIterator<unknown>): Promise<{ readonly done: boolean; readonly value: unknown }> {
  try {
    const { done = false, value } = await chunks.next()
    return { done, value: value as unknown }
  } catch (cause) {
    throw incomplete('the body broke off', cause)
  }
}

export function bodyParsed(how: string): PostriderError {
  return new PostriderError('body_parsed', `${how}, so its signature cannot be checked`)
}

function tooLarge(maxBytes: number): PostriderError {
  return new PostriderError('body_too_large', `the body has more than ${maxBytes} bytes`, { limit: maxBytes })
}

function incomplete(problem: string, cause?: unknown): PostriderError {
  return new PostriderError('body_incomplete', problem, {}, cause === undefined ? undefined : { cause })
}
