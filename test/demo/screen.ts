import type { WriteStream } from 'node:tty'
import { draw } from './draw.ts'
import type { Score } from './score.ts'

const frameMs = 125
/** Of the line of what waits; the whole show fits on it. */
const sampleMs = 500

const enter = '\x1b[?1049h\x1b[?25l\x1b[2J'
const leave = '\x1b[?25h\x1b[?1049l'
/** Between these a terminal that knows them shows nothing, so that no half picture is seen. */
const [hold, show] = ['\x1b[?2026h', '\x1b[?2026l']

/** One live picture of the score on the terminal's other page; ending it brings back what was there before. */
export function openScreen(score: Score, terminal: WriteStream): { close(): void } {
  const waiting: number[] = []
  let sampledAt = 0
  let last = ''
  const redraw = (): void => {
    if (performance.now() - sampledAt >= sampleMs) {
      sampledAt = performance.now()
      waiting.push(score.backlog)
    }
    const lines = draw(score, waiting, { columns: terminal.columns, rows: terminal.rows })
    const frame = lines.map((line) => `${line}\x1b[K`).join('\r\n')
    if (frame !== last) terminal.write(`${hold}\x1b[H${frame}\x1b[J${show}`)
    last = frame
  }
  const resized = (): void => {
    last = ''
    terminal.write('\x1b[2J')
    redraw()
  }
  let open = true
  const close = (): void => {
    if (!open) return
    open = false
    clearInterval(timer)
    terminal.off('resize', resized)
    process.off('exit', close)
    terminal.write(leave)
  }
  terminal.write(enter)
  terminal.on('resize', resized)
  process.on('exit', close)
  const timer = setInterval(redraw, frameMs)
  redraw()
  return { close }
}

/** A terminal that can move its cursor and has room for the picture. */
export function canShow(stream: NodeJS.WriteStream): stream is WriteStream {
  return stream.isTTY && process.env['TERM'] !== 'dumb' && stream.columns >= 40 && stream.rows >= 20
}
