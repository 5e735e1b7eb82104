import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { nodeArgs } from '../node.ts'
import { kindOf } from './kinds.ts'
import { root, type Block, type Page } from './pages.ts'

/** Modules within the workspace, so that the names they import are found; removed at the end. */
export interface Programs extends AsyncDisposable {
  readonly directory: string
  /** Writes all TypeScript of a page as one module, each line where it stands in the page, and returns its path. */
  add(page: Page): Promise<string>
  /** Writes a block that is a module of its own, and returns its path. */
  addAlone(page: Page, block: Block): Promise<string>
}

const given = 'test/docs/given.ts'

export async function openPrograms(): Promise<Programs> {
  const parent = join(root, 'test/dist')
  await mkdir(parent, { recursive: true })
  const directory = await mkdtemp(join(parent, 'docs-'))
  const write = async (page: Page, name: string, blocks: readonly Block[], head = ''): Promise<string> => {
    const path = join(directory, `${page.path.replaceAll('/', '-').replace(/\.md$/, '')}-${name}`)
    await writeFile(path, inPlace(blocks, head))
    return path
  }
  return {
    directory,
    add: (page) => {
      const blocks = page.blocks.filter((block) => kindOf(block) === 'program')
      return write(page, 'program.ts', blocks, importGiven(blocks))
    },
    addAlone: (page, block) => write(page, basename(block.name), [block]),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  }
}

/** A first line that brings what the page leaves out. */
function importGiven(blocks: readonly Block[]): string {
  const code = blocks.map(({ text }) => text).join('\n')
  const names = ['db', 'pool'].filter((name) => new RegExp(`\\b${name}[.,)]`).test(code))
  // Without a name it is still a module, as every program here is.
  return `import { ${names.join(', ')} } from '../../docs/${basename(given)}'`
}

function inPlace(blocks: readonly Block[], head: string): string {
  const lines = [head]
  for (const { line, text } of blocks) {
    while (lines.length < line - 1) lines.push('')
    lines.push(...text.trimEnd().split('\n'))
  }
  return `${lines.join('\n')}\n`
}

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end, in at most 20 s. */
export async function runProgram(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
  const child = spawn(process.execPath, [...nodeArgs, ...args], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
  const [stdout, stderr, [code]] = await Promise.all([readAll(child.stdout), readAll(child.stderr), once(child, 'close')])
  return { code: code as number | null, stdout, stderr }
}

/** What the page says that it prints: comments behind `console.log(…)`. */
export function printedBy(page: Page): string[] {
  const code = page.blocks.filter((block) => kindOf(block) === 'program').map(({ text }) => text)
  return [...code.join('\n').matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, words = '']) => words)
}
