import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { bareHost } from './guard.ts'

/** The addresses that this machine itself gives a name: its hosts file, and `localhost` (RFC 6761 section 6.3). */
export function localAddresses(host: string, hostsFile: string = readHostsFile()): readonly string[] {
  const name = bareHost(host)
  const found: string[] = []
  for (const line of hostsFile.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    if (isIP(address) !== 0 && names.some((one) => bareHost(one) === name) && !found.includes(address)) found.push(address)
  }
  if (found.length > 0) return found
  return name === 'localhost' || name.endsWith('.localhost') ? ['127.0.0.1', '::1'] : []
}

function readHostsFile(): string {
  const path =
    process.platform === 'win32' ? join(process.env['SystemRoot'] ?? 'C:\\Windows', 'System32/drivers/etc/hosts') : '/etc/hosts'
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // A container may have none; names then come from DNS alone.
  }
}
