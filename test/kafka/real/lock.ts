/**
 * Writes jars.json anew: `node lock.ts VERSION`, with Maven on the machine. Only for a change of version; tests read the file.
 * Maven resolves what the broker declares; what it never loads is left out.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lock } from './jars.ts'

/** What a broker never loads: for the reflection of Scala, for log settings in YAML, and for forms of web pages. */
const unused = /^(scala-reflect|jackson-dataformat-yaml|snakeyaml|jspecify|commons-(beanutils|collections|digester|logging))-/

const version = process.argv[2] ?? ''
const directory = mkdtempSync(join(tmpdir(), 'postrider-lock-'))
try {
  const dependency = (group: string, artifact: string, of: string): string =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${of}</version></dependency>`
  writeFileSync(
    join(directory, 'pom.xml'),
    `<project><modelVersion>4.0.0</modelVersion><groupId>postrider</groupId><artifactId>lock</artifactId><version>1</version>
    <dependencies>${dependency('org.apache.kafka', 'kafka_2.13', version)}
    ${dependency('org.slf4j', 'slf4j-simple', '1.7.36')}</dependencies></project>`,
  )
  const repository = ['-DincludeScope=runtime', '-DoutputDirectory=jars', '-Dmdep.useRepositoryLayout=true']
  execFileSync('mvn', ['-q', '-B', 'dependency:copy-dependencies', ...repository], { cwd: directory, stdio: 'inherit' })
  const root = join(directory, 'jars')
  const jars = globSync('**/*.jar', { cwd: root })
    .filter((path) => !unused.test(path.split('/').at(-1) ?? ''))
    .sort()
    .map((path) => {
      const bytes = readFileSync(join(root, path))
      return { path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
    })
  const lock: Lock = { version, jars }
  writeFileSync(join(import.meta.dirname, 'jars.json'), `${JSON.stringify(lock, null, 2)}\n`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
