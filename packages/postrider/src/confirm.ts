import { createInterface } from 'node:readline/promises'
import { PostriderError } from '@postrider/schema'
import { Interrupted } from './exit.ts'

/**
 * Asks on a terminal; `--yes` answers beforehand.
 * @throws PostriderError `not_confirmed` on a no, or when there is nobody to ask; Interrupted on Ctrl-C.
 */
export async function confirm(question: string, yes: boolean): Promise<void> {
  if (yes) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw refused(`${question} There is no terminal to ask on.`)
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  const interrupt = new AbortController()
  asking.once('SIGINT', () => interrupt.abort())
  asking.once('close', () => interrupt.abort())
  try {
    const answer = await asking.question(`${question} [y/N] `, { signal: interrupt.signal })
    if (!/^y(es)?$/i.test(answer.trim())) throw refused('The answer was no; nothing was changed.')
  } catch (error) {
    throw interrupt.signal.aborted ? new Interrupted() : error
  } finally {
    asking.close()
  }
}

function refused(message: string): PostriderError {
  return new PostriderError('not_confirmed', message)
}
