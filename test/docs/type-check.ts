import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { root } from './pages.ts'

/** What the compiler says about modules, as a user's strict project has it; empty when nothing. */
export async function typeCheck(directory: string, files: readonly string[]): Promise<string> {
  const project = join(directory, 'tsconfig.json')
  const compilerOptions = {
    noEmit: true,
    composite: false,
    declarationMap: false,
    rootDir: root,
    isolatedDeclarations: false,
    allowImportingTsExtensions: true,
    rewriteRelativeImportExtensions: false,
    noImplicitReturns: false,
    noPropertyAccessFromIndexSignature: false,
  }
  await writeFile(project, JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, files }))
  const child = spawn(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 25_000,
    killSignal: 'SIGKILL',
  })
  const [said, [code]] = await Promise.all([readAll(child.stdout), once(child, 'close')])
  return code === 0 ? said : `${said}exit status ${String(code)}`
}
