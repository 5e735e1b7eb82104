import type { Settings } from './config.ts'

const postgresPort = '5432'

/**
 * Where this relay itself listens and reads, as `deny` of a webhook sink takes it: whoever may write an endpoint must not
 * have the relay talk to its own database or probes. What no URL can name, such as a socket in the file system, is none.
 */
export function ownPlaces({ database, health }: Pick<Settings, 'database' | 'health'>): readonly string[] {
  const databases = [database.url, database.directUrl].flatMap((url) => (url === false ? [] : databaseAt(url)))
  const probes = health === false || health.port === 0 ? [] : placeOf(health.host, String(health.port))
  return [...new Set([...databases, ...probes])]
}

function databaseAt(text: string): readonly string[] {
  const { hostname, port, searchParams } = new URL(text)
  const given = searchParams.get('port') ?? port
  return placeOf(searchParams.get('host') ?? hostname, given === '' ? postgresPort : given)
}

/** Spelt as a URL would spell it, which is what it is compared with. */
function placeOf(host: string, port: string): readonly string[] {
  const origin = `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}`
  if (host === '' || /[/%?#@\\]/.test(host) || !URL.canParse(origin)) return []
  return [`${new URL(origin).hostname}:${port}`]
}
