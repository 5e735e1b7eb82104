import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** How tests start another Node of this workspace: `spawn(process.execPath, [...nodeArgs, 'main.ts'])` runs from source, without a build. */
export const nodeArgs: readonly string[] = ['--conditions=@postrider/source']

/** Where such a Node keeps what it has compiled, for the next one: a relay starts in half the time. */
export const compiled: string = join(tmpdir(), `postrider-compiled-${process.getuid?.() ?? 0}`)
