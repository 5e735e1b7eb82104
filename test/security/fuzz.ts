import { Script } from 'node:vm'
import { isPostriderError, type ErrorCode } from '@postrider/schema'
import fc from 'fast-check'

/** The same for every run, so that a failure comes again; POSTRIDER_FUZZ_SEED looks elsewhere. fast-check prints it when it fails. */
const seed = Number(process.env['POSTRIDER_FUZZ_SEED'] ?? 20_261_121)
/** For one value, of the processor's time, because other tests run beside. Far above what any takes, far below what a regular expression that runs wild does. */
const slowestMs = 1_000
/** For all values of one property: what hangs is cut off, and fails. */
const deadlineMs = 20_000
const mostGrowthBytes = 256 * 2 ** 20

export interface FuzzOptions {
  readonly runs?: number
}

/**
 * Holds a parser to what every parser of outside bytes owes: for each value a right answer or an error of its own, in time,
 * with bounded memory, and without a trace on the prototypes that all objects share.
 */
export function fuzz<T>(values: fc.Arbitrary<T>, holds: (value: T) => void, { runs = 1_000 }: FuzzOptions = {}): void {
  const before = prototypes()
  const rss = process.memoryUsage.rss()
  const check = (): void =>
    fc.assert(
      fc.property(values, (value) => {
        const begun = process.cpuUsage()
        holds(value)
        const tookMs = process.cpuUsage(begun).user / 1_000
        if (tookMs > slowestMs) throw new Error(`took ${Math.round(tookMs)} ms of the processor`)
      }),
      { seed, numRuns: runs },
    )
  withinDeadline(check)
  const after = prototypes()
  if (after !== before) throw new Error(`a prototype was polluted: ${before} became ${after} (seed ${seed})`)
  const growth = process.memoryUsage.rss() - rss
  if (growth > mostGrowthBytes) throw new Error(`memory grew by ${growth} bytes (seed ${seed})`)
}

/** The answer, or null when it was refused by one of these codes. Any other error goes on its way, and fails the test. */
export function answerOr<T>(codes: readonly ErrorCode[], parse: () => T): T | null {
  try {
    return parse()
  } catch (error) {
    if (isPostriderError(error) && codes.includes(error.code)) return null
    throw error
  }
}

/** Texts that have broken parsers before, beside texts of any kind. */
export function hostileText(maxLength: number = 200): fc.Arbitrary<string> {
  return fc.oneof(
    fc.string({ unit: 'binary', maxLength }),
    fc.string({ unit: 'grapheme', maxLength }),
    fc.string({ maxLength }),
    fc.constantFrom(...knownTroublemakers),
    fc
      .tuple(fc.constantFrom(...repeated), fc.integer({ min: 1, max: 20_000 }))
      .map(([text, times]) => text.repeat(times).slice(0, 50_000)),
  )
}

const knownTroublemakers: readonly string[] = [
  ' ',
  '\0',
  '\r\n',
  'a\r\nb: c',
  '%',
  '%zz',
  '%00',
  '${',
  '${}',
  '${env:',
  '${env:constructor}',
  '$${',
  '../../etc/passwd',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  'null',
  'undefined',
  'NaN',
  'Infinity',
  '-0',
  '1e999',
  '9007199254740993',
  '18446744073709551616',
  '0x10',
  '1_000',
  '-1',
  '+5',
  '120.5',
  '٣',
  '１２',
  '\ud800',
  '\udfff\ud800',
  '\u202e',
  '\ufeff',
  'İ',
  '😀',
  'a\u0300',
  '2026-02-30T00:00:00Z',
  '0000-00-00',
  '::1',
  '127.1',
]
const repeated: readonly string[] = 'a 9 ( [ {"a": , = % v1, . * **. : ${ a= - 😀'.split(' ').concat(' ', '\n', ', ')

/** A loop without an end cannot be stopped by a timer; V8's own watchdog stops it. */
function withinDeadline(work: () => void): void {
  const key = '__postriderFuzz'
  const place = globalThis as Record<string, unknown>
  place[key] = work
  try {
    new Script(`globalThis.${key}()`).runInThisContext({ timeout: deadlineMs })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new Error(`it did not end within ${deadlineMs} ms (seed ${seed})`, { cause: error })
    throw error
  } finally {
    delete place[key]
  }
}

function prototypes(): string {
  return [Object.prototype, Array.prototype, Function.prototype, String.prototype]
    .map((one) => Reflect.ownKeys(one).map(String).join(','))
    .join(' | ')
}
