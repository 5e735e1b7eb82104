/**
 * Loaded before a relay: its clock jumps, every second or so, by minutes and in both directions. `--import …/shift-clock.ts?seed=1`.
 * What JavaScript knows of the time of day is wrong; time that passes (`performance.now()`, timers) is not touched.
 */
import { Random } from './random.ts'

/** Receivers refuse what was signed more than five minutes ago or ahead. */
const mostMs = 4 * 60_000

const random = new Random(new URL(import.meta.url).searchParams.get('seed') ?? '')
const offsets = Array.from({ length: 60 }, () => random.int(-mostMs, mostMs))
const offset = (): number => offsets[Math.floor(performance.now() / 900) % offsets.length] ?? 0

const RealDate = Date
const now = (): number => RealDate.now() + offset()

class ShiftedDate extends RealDate {
  constructor(...given: [] | [number | string | Date]) {
    if (given.length === 0) super(now())
    else super(...given)
  }

  static override now(): number {
    return now()
  }
}

globalThis.Date = ShiftedDate as DateConstructor
