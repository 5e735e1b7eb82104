import { readFileSync } from 'node:fs'

/** Version of this package; the same path from `src` and from `dist`. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version
