import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Directory extends AsyncDisposable {
  readonly path: string
  /** Writes a file and returns its path; anything but text is written as JSON. */
  write(name: string, content: unknown): Promise<string>
}

/** A directory of one's own, removed at the end. */
export async function temporaryDirectory(): Promise<Directory> {
  const path = await mkdtemp(join(tmpdir(), 'postrider-test-'))
  return {
    path,
    async write(name, content) {
      const file = join(path, name)
      await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
      return file
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}
