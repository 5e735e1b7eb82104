import { paint } from '../draw.ts'

type Tone = Parameters<typeof paint>[0]

/** What is told while it happens. */
export interface Story {
  /** A step begins; `commands` are what a user types for it. */
  begin(title: string, ...commands: readonly string[]): void
  /** And has ended well. */
  end(ms: number, text: string): void
  /** Any other lines. */
  say(...lines: readonly string[]): void
  close(): void
}

const frameMs = 200
const clearLine = '\r\x1b[2K'

/**
 * Tells it line by line; on a terminal in colours, and with one line at the end that says how things stand.
 * @param now that line
 */
export function openStory(stream: NodeJS.WriteStream, now: () => string): Story {
  const live = stream.isTTY && process.env['TERM'] !== 'dumb'
  const tone = (name: Tone, text: string): string => (stream.isTTY ? paint(name, text) : text)
  const width = (): number => Math.max(20, stream.columns - 1)
  const clear = (): void => void (live && stream.write(clearLine))
  const draw = (): void => void (live && stream.write(`${clearLine}${tone('faint', now().slice(0, width()))}`))
  const write = (text: string): void => {
    clear()
    stream.write(`${text}\n`)
    draw()
  }
  const timer = live ? setInterval(draw, frameMs) : undefined
  let steps = 0
  return {
    begin(title, ...commands) {
      write(`${String(++steps).padStart(2)}  ${tone('strong', title)}`)
      for (const command of commands) write(`      ${tone('faint', `$ ${command}`)}`)
    },
    end: (ms, text) => write(`    ${tone('good', '✓')} ${`${(ms / 1_000).toFixed(1)} s`.padStart(6)}  ${text}`),
    say: (...lines) => {
      for (const line of lines) write(line)
    },
    close() {
      clearInterval(timer)
      clear()
    },
  }
}
