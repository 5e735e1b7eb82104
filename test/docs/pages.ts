import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The root of the repository. */
export const root: string = join(import.meta.dirname, '..', '..')

/** A fenced block: ```` ```language name ````. */
export interface Block {
  readonly language: string
  /** The rest of the line that opens it; says what the block is, where its language leaves that open. */
  readonly name: string
  readonly text: string
  /** Line of its first line in the page, from 1. */
  readonly line: number
}

export interface Page {
  /** From the root of the repository, such as `docs/operating.md`. */
  readonly path: string
  readonly text: string
  readonly blocks: readonly Block[]
  /** Targets of its links, as they are written. */
  readonly links: readonly string[]
  /** Its headings, as their anchors. */
  readonly anchors: readonly string[]
  /** The rows below a heading whose first cell is code, or a link of code, without the back quotes of that. */
  rowsOf(heading: string): readonly (readonly string[])[]
}

/** Every page that a user reads. */
export function readPages(): readonly Page[] {
  const inDocs = readdirSync(join(root, 'docs')).map((file) => `docs/${file}`)
  const inPackages = readdirSync(join(root, 'packages'))
    .map((name) => `packages/${name}`)
    .flatMap((folder) => readdirSync(join(root, folder)).map((file) => `${folder}/${file}`))
  return ['README.md', ...inDocs, ...inPackages].filter((path) => path.endsWith('.md')).map(readPage)
}

export function readPage(path: string): Page {
  const text = readFileSync(join(root, path), 'utf8')
  const prose = text.replace(/^```.*?^```$/gms, '')
  return {
    path,
    text,
    blocks: blocksOf(text),
    links: [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target),
    anchors: [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading)),
    rowsOf(heading) {
      const section = prose.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`))
      if (section === undefined) throw new Error(`${path} has no heading "${heading}"`)
      return [...section.matchAll(/^\| *\[?`.*$(?!\n\| *:?-)/gm)].map(([row]) => cellsOf(row))
    },
  }
}

function blocksOf(text: string): Block[] {
  return [...text.matchAll(/^```(\S+) *([^\n]*)\n(.*?)^```$/gms)].map((found) => {
    const [, language = '', name = '', inside = ''] = found
    return { language, name, text: inside, line: text.slice(0, found.index).split('\n').length + 1 }
  })
}

/** As GitHub makes them. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number}\s_-]/gu, '')
    .replaceAll(' ', '-')
}

function cellsOf(row: string): string[] {
  const [first = '', ...cells] = row
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim().replaceAll('\\|', '|'))
  return [first.replaceAll('`', ''), ...cells]
}
