/** What a package-lock.json of version 3 says about one place in the tree. */
export interface LockEntry {
  /** Where it differs from the place: an alias. */
  readonly name?: string
  readonly version?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly link?: boolean
  readonly optional?: boolean
  readonly dev?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
  readonly license?: string
  readonly hasInstallScript?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

export interface Lockfile {
  readonly lockfileVersion: number
  readonly packages: Readonly<Record<string, LockEntry>>
}

/** As much of a package.json as a lockfile repeats. */
export type Manifest = Pick<
  LockEntry,
  'version' | 'dependencies' | 'devDependencies' | 'optionalDependencies' | 'peerDependencies'
> & {
  readonly allowScripts?: Readonly<Record<string, boolean>>
}

const registry = 'https://registry.npmjs.org/'
const strong = /^sha512-[A-Za-z0-9+/]{86}==$/
const repeated = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'] as const

/**
 * What is wrong with a lockfile: bytes that nothing pins, a source that is not the registry, a range in a manifest that is not the one
 * that was locked, and a script at installation that nobody has decided about. `manifests`: by their place, the root as ''.
 */
export function faultsOf(lock: Lockfile, manifests: Readonly<Record<string, Manifest>>): readonly string[] {
  const faults: string[] = []
  if (lock.lockfileVersion !== 3) faults.push(`version ${lock.lockfileVersion} of the format, not 3`)
  const allowed = manifests['']?.allowScripts ?? {}
  for (const [place, entry] of Object.entries(lock.packages)) {
    if (!place.includes('node_modules/')) continue
    if (entry.link === true) {
      if (manifests[entry.resolved ?? ''] === undefined)
        faults.push(`${place}: leads to ${entry.resolved}, which is no workspace`)
      continue
    }
    // Without an address it is the configured registry, by name and version; npm writes none with omit-lockfile-registry-resolved.
    if (entry.resolved !== undefined && !entry.resolved.startsWith(registry))
      faults.push(`${place}: comes from ${entry.resolved}`)
    if (!/^\d+\.\d+\.\d+/.test(entry.version ?? '')) faults.push(`${place}: has no version`)
    if (entry.integrity === undefined ? !isOfAnotherPlatform(entry) : !strong.test(entry.integrity))
      faults.push(`${place}: has no SHA-512 of its bytes`)
    const name = entry.name ?? nameOf(place)
    if (entry.hasInstallScript === true && allowed[name] === undefined)
      faults.push(`${place}: runs a script when it is installed; decide about ${name} in allowScripts`)
  }
  for (const [place, manifest] of Object.entries(manifests)) {
    const locked = lock.packages[place]
    if (locked === undefined) {
      faults.push(`${place || 'the root'}: is not in the lockfile`)
      continue
    }
    if (locked.version !== manifest.version)
      faults.push(`${place || 'the root'}: version ${manifest.version} is locked as ${locked.version}`)
    for (const kind of repeated) {
      if (JSON.stringify(sorted(locked[kind])) !== JSON.stringify(sorted(manifest[kind])))
        faults.push(`${place || 'the root'}: its ${kind} are not those that were locked`)
    }
  }
  return faults
}

/** Optional, and for a system or a processor: npm knows the hash of those that it has downloaded, which it has for one platform only. */
function isOfAnotherPlatform({ optional, os, cpu }: LockEntry): boolean {
  return optional === true && (os !== undefined || cpu !== undefined)
}

function sorted(record: Readonly<Record<string, string>> = {}): readonly (readonly [string, string])[] {
  return Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1))
}

function nameOf(place: string): string {
  return place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

/** What somebody installs along with these workspaces, optional peers among them: place → entry. */
export function productionOf(lock: Lockfile, workspaces: readonly string[]): ReadonlyMap<string, LockEntry> {
  const found = new Map<string, LockEntry>()
  const visit = (place: string): void => {
    const entry = lock.packages[place]
    if (entry === undefined || found.has(place)) return
    if (entry.link === true) return visit(entry.resolved ?? '')
    found.set(place, entry)
    const wanted = { ...entry.dependencies, ...entry.optionalDependencies, ...entry.peerDependencies }
    for (const name of Object.keys(wanted)) {
      const at = placeOf(lock, place, name)
      if (at !== null) visit(at)
      else if (entry.optionalDependencies?.[name] === undefined && entry.peerDependenciesMeta?.[name]?.optional !== true)
        throw new Error(`${name}, which ${place} needs, is not in the lockfile`)
    }
  }
  for (const workspace of workspaces) visit(workspace)
  for (const workspace of workspaces) found.delete(workspace)
  return new Map([...found].filter(([place]) => place.includes('node_modules/')))
}

/** Where Node finds a package from a place: in the nearest node_modules above. */
function placeOf(lock: Lockfile, from: string, name: string): string | null {
  for (let above = from; ; above = above.slice(0, Math.max(0, above.lastIndexOf('/')))) {
    const at = above === '' ? `node_modules/${name}` : `${above}/node_modules/${name}`
    if (lock.packages[at] !== undefined) return at
    if (above === '') return null
  }
}
