/** One picture, drawn over the one before. */
export interface Screen extends Disposable {
  /** Lines that can be seen at once; endless where there is no terminal. */
  readonly rows: number
  draw(lines: readonly string[]): void
}

/** Control sequences of ECMA-48. */
const [home, clearLine, clearBelow, hideCursor, showCursor] = ['\x1b[H', '\x1b[K', '\x1b[J', '\x1b[?25l', '\x1b[?25h']

/**
 * A terminal is drawn over line by line in a single write, so that nothing flickers, and left as it is at the end. Without
 * one every picture stands below the one before.
 */
export function openScreen(stream: NodeJS.WriteStream): Screen {
  let drawn = false
  return {
    get rows() {
      return stream.isTTY ? stream.rows : Infinity
    },
    draw(lines) {
      if (!stream.isTTY) {
        stream.write(`${lines.join('\n')}\n\n`)
        return
      }
      const start = drawn ? '' : hideCursor + home + clearBelow
      drawn = true
      // Of a line that is too long the terminal shows what fits.
      const seen = lines.slice(0, stream.rows - 1).map((line) => line + clearLine)
      stream.write(`${start}\x1b[?7l${home}${seen.join('\n')}\n${clearBelow}\x1b[?7h`)
    },
    [Symbol.dispose]() {
      if (drawn) stream.write(showCursor)
    },
  }
}
