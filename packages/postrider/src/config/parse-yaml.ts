import { parseDocument, type YAMLError } from 'yaml'

// What the parser says about a fault may repeat the text that it stumbled over, which may be a secret; a password that
// begins with `*`, `!` or `|` is a word of YAML's own. So the place is told, and never the text; and no cause is kept.

/** @throws Error whose message is safe to show */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text, { logLevel: 'error' })
  // A tag that nobody knows, or a directive: a configuration has none, so this is a text that should have been quoted.
  const [fault] = [...document.errors, ...document.warnings]
  if (fault !== undefined) throw new Error(wordFault(fault))
  try {
    return (document.toJS() as unknown) ?? {}
  } catch (error) {
    // oxlint-disable-next-line preserve-caught-error -- it quotes the text
    throw new Error(error instanceof Error ? bare(error.message) : 'it is no YAML')
  }
}

function wordFault({ message, code, linePos }: YAMLError): string {
  const [at] = linePos ?? []
  const where = at === undefined ? '' : ` at line ${at.line}, column ${at.col}`
  return `${code === 'BAD_DIRECTIVE' ? 'A directive that is none' : bare(message)}${where}`
}

/** Without the place, which is told in our own words, and without what follows a colon, which is text of the file. */
function bare(message: string): string {
  const [line = ''] = message.split('\n', 1)
  return (line.replace(/ at line \d+, column \d+:?$/, '').split(/[:"]/, 1)[0] ?? '').trim()
}
