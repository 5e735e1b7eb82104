import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Java } from './java.ts'

export interface Certificate {
  /** PKCS#12 file with the key. */
  readonly keystore: string
  readonly password: string
  /** PEM: what a client must trust. */
  readonly ca: string
}

/** A certificate for 127.0.0.1 and localhost that vouches for itself, made by the keytool that comes with Java. */
export async function makeCertificate(java: Java, directory: string): Promise<Certificate> {
  const keystore = join(directory, 'keystore.p12')
  const password = randomBytes(12).toString('hex')
  const store = ['-keystore', keystore, '-storetype', 'PKCS12', '-storepass', password, '-alias', 'broker']
  const keytool = async (...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(join(java.bin, 'keytool'), [...args, ...store], { timeout: 30_000 })
    return stdout
  }
  const names = ['-ext', 'san=ip:127.0.0.1,dns:localhost', '-ext', 'bc:c']
  await keytool(
    '-genkeypair',
    '-keyalg',
    'EC',
    '-groupname',
    'secp256r1',
    '-dname',
    'CN=postrider test',
    '-validity',
    '2',
    ...names,
  )
  return { keystore, password, ca: await keytool('-exportcert', '-rfc') }
}
