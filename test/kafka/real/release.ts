import { createHash } from 'node:crypto'
import { mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { findJava, type Java } from './java.ts'
import { classPath, openCache } from './jars.ts'
import { runCluster } from './run.ts'

/** A Kafka that is here and can be started. */
export interface Release {
  readonly java: Java
  readonly classPath: readonly string[]
  /** Class data of a former run, which halves the time and the memory of a start; undefined when there are none. */
  readonly archive: string | undefined
}

let ready: Promise<Release> | undefined

/** Once in a process: finds Java, fetches the jars, and makes the archive of class data, each only when it is missing. */
export function openRelease(): Promise<Release> {
  return (ready ??= prepare().catch((error: unknown) => {
    ready = undefined
    throw error
  }))
}

async function prepare(): Promise<Release> {
  const java = await findJava()
  if (typeof java === 'string') throw new Error(`Kafka cannot be started: ${java}`)
  const cache = await openCache()
  const release: Release = { java, classPath: await classPath(cache), archive: undefined }
  return { ...release, archive: await archive(release, cache) }
}

/** An archive fits one build of Java and one class path only. A JVM that it does not fit ignores it. */
async function archive(release: Release, cache: string): Promise<string | undefined> {
  const fits = createHash('sha256')
    .update([release.java.build, ...release.classPath].join('\n'))
    .digest('hex')
    .slice(0, 16)
  const kept = join(cache, `classes-${fits}.jsa`)
  if ((await stat(kept).catch(() => undefined)) !== undefined) return kept
  const draft = await mkdtemp(join(cache, '.draft-')).catch(() => undefined)
  if (draft === undefined) return undefined // a cache that may only be read
  try {
    const written = join(draft, 'classes.jsa')
    await using cluster = await runCluster(release, {}, [`-XX:ArchiveClassesAtExit=${written}`])
    await cluster.brokers[0]?.stop()
    await rename(written, kept)
    return kept
  } catch (error) {
    console.warn(`Kafka starts slower than it could, without an archive of its classes: ${String(error)}`)
    return undefined
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
