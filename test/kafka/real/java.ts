/** Which Java runs the broker. */
import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export interface Java {
  readonly command: string
  readonly major: number
  /** Tells one build from another: a class data archive fits only the build that wrote it. */
  readonly build: string
  /** Directory of `keytool`, which comes with every Java. */
  readonly bin: string
}

/** What Kafka 4 asks for. */
export const leastJava = 17

/** The Java of JAVA_HOME, else the first of PATH; a sentence that says why there is none that will do. */
export async function findJava(): Promise<Java | string> {
  const home = process.env['JAVA_HOME']
  const reasons: string[] = []
  for (const command of [...(home ? [join(home, 'bin', 'java')] : []), 'java']) {
    const found = await ask(command)
    if (typeof found !== 'string' && found.major >= leastJava) return found
    reasons.push(typeof found === 'string' ? found : `${command} is Java ${found.major}, and Kafka needs ${leastJava}`)
  }
  return reasons.join('; ')
}

async function ask(command: string): Promise<Java | string> {
  try {
    const { stderr } = await promisify(execFile)(command, ['-XshowSettings:properties', '-version'], { timeout: 20_000 })
    const property = (name: string): string => new RegExp(`^\\s*${name} = (.*)$`, 'm').exec(stderr)?.[1]?.trim() ?? ''
    const home = property('java\\.home')
    return {
      command,
      major: Number.parseInt(property('java\\.specification\\.version'), 10),
      build: `${property('java\\.vm\\.name')} ${property('java\\.vm\\.version')} ${property('os\\.arch')}`,
      bin: home === '' ? dirname(command) : join(home, 'bin'),
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    return missing ? `no ${command} found` : `${command} does not run (${String(error)})`
  }
}
