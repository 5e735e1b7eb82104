/**
 * The text of a member of a JSON object as it stands there, so that its bytes are those of the log, numbers above 2^53 and all;
 * undefined when it has no such member. Of several the last, as `JSON.parse` has it. The text must be the JSON of an object.
 */
export function findMember(json: string, name: string): string | undefined {
  let found: string | undefined
  let at = skipBlank(json, json.indexOf('{') + 1)
  while (json[at] === '"') {
    const afterName = skipString(json, at)
    const member = JSON.parse(json.slice(at, afterName)) as string
    const start = skipBlank(json, skipBlank(json, afterName) + 1)
    const end = skipValue(json, start)
    if (member === name) found = json.slice(start, end)
    at = skipBlank(json, end)
    if (json[at] === ',') at = skipBlank(json, at + 1)
  }
  return found
}

const quote = 0x22
const backslash = 0x5c

function skipString(json: string, start: number): number {
  let at = start + 1
  while (at < json.length && json.charCodeAt(at) !== quote) at += json.charCodeAt(at) === backslash ? 2 : 1
  return at + 1
}

/** Without recursion, because the depth is the sender's to choose. */
function skipValue(json: string, start: number): number {
  let depth = 0
  let at = start
  while (at < json.length) {
    const character = json[at]
    if (character === '"') {
      at = skipString(json, at)
      if (depth === 0) return at
      continue
    }
    if (depth === 0 && at > start && (character === ',' || character === '}' || isBlank(json, at))) return at
    if (character === '{' || character === '[') depth++
    if (character === '}' || character === ']') {
      depth--
      if (depth === 0) return at + 1
    }
    at++
  }
  return at
}

function skipBlank(json: string, start: number): number {
  let at = start
  while (isBlank(json, at)) at++
  return at
}

/** White space of RFC 8259. */
function isBlank(json: string, at: number): boolean {
  const code = json.charCodeAt(at)
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}
