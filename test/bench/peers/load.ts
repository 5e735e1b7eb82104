/** The packages of the peers, which stand beside this file and not in the workspace: found only when somebody asks for them. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const manifest = join(import.meta.dirname, 'package.json')

/** A package of this folder; the caller says what it uses of it. */
export async function load<Module>(name: string): Promise<Module> {
  const file = createRequire(manifest).resolve(name)
  return (await import(pathToFileURL(file).href)) as Module
}

export function versionOf(name: string): string {
  const file = join(import.meta.dirname, 'node_modules', name, 'package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
