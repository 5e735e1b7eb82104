import type { z } from 'zod'
import { nearest } from './nearest.ts'
import { formatPath, isPlainObject, valueAt, type Path } from './path.ts'

type Issue = z.core.$ZodIssue
type RawIssue = z.core.$ZodRawIssue

/** Words for the issues that do not bring their own. Text of the configuration is repeated only where it is a choice: it may be a secret. */
export function wordIssue(issue: RawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `expected ${wordType(issue.expected)}, got ${typeOf(issue.input)}`
    case 'invalid_value':
      return wordChoice(issue.values.map(String), issue.input)
    case 'invalid_union':
      return issue.discriminator === undefined
        ? undefined
        : wordChoice((issue['options'] as unknown[]).map(String), discriminatorOf(issue))
    case 'too_small':
      return `expected ${typeof issue.input === 'string' ? `${issue.minimum} characters or more` : `${issue.minimum} or more, got ${shown(issue.input)}`}`
    case 'too_big':
      return `expected ${typeof issue.input === 'string' ? `at most ${issue.maximum} characters` : `at most ${issue.maximum}, got ${shown(issue.input)}`}`
    case 'unrecognized_keys':
      return issue.keys.map((key) => wordUnknown(key, namesOf(issue.inst))).join('\n')
    default:
      return undefined
  }
}

/** One line for each problem: `sinks.billing.formt: unknown; did you mean format?` */
export function problemsOf(issues: readonly Issue[], root: unknown, base: Path = []): { at: string; problem: string }[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path]
    if (issue.code === 'unrecognized_keys') {
      const words = issue.message.split('\n')
      return issue.keys.map((key, index) => line([...path, key], words[index] ?? 'unknown'))
    }
    if (issue.code === 'invalid_key') return [line(path, issue.issues[0]?.message ?? issue.message)]
    if (issue.code === 'invalid_union') {
      const meant = branchFor(issue, valueAt(root, path))
      if (meant !== undefined) return problemsOf(meant, root, path)
    }
    return [line(path, issue.message)]
  })
}

function line(path: Path, words: string): { at: string; problem: string } {
  const at = formatPath(path)
  return { at, problem: at === '' ? `configuration: ${words}` : `${at}: ${words}` }
}

/** For an object, the complaints of the form that takes an object say more than that of the union. */
function branchFor(issue: Extract<Issue, { code: 'invalid_union' }>, value: unknown): readonly Issue[] | undefined {
  if (!isPlainObject(value)) return undefined
  return issue.errors.find((errors) => errors.every(({ path, code }) => path.length > 0 || code === 'unrecognized_keys'))
}

function wordUnknown(key: string, known: readonly string[]): string {
  const meant = nearest(key, known)
  return meant === undefined ? `unknown; there are ${known.join(', ')}` : `unknown; did you mean ${meant}?`
}

function wordChoice(choices: readonly string[], input: unknown): string {
  const expected = `expected ${choices.join(', ')}`
  if (input === undefined) return `is missing; ${expected}`
  const meant = typeof input === 'string' ? nearest(input, choices) : undefined
  return `${expected}, got ${shown(input)}${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

function discriminatorOf(issue: RawIssue & { discriminator?: unknown }): unknown {
  return valueAt(issue.input, [String(issue.discriminator)])
}

function namesOf(schema: unknown): string[] {
  const shape = valueAt(schema, ['_zod', 'def', 'shape'])
  return isPlainObject(shape) ? Object.keys(shape) : []
}

function wordType(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    int: 'a whole number',
    number: 'a number',
    string: 'text',
    array: 'a list',
    boolean: 'true or false',
  }
  return words[expected] ?? (expected === 'object' || expected === 'record' ? '{ … }' : expected)
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return 'text'
  return typeof value === 'object' ? '{ … }' : shown(value)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value.length > 40 ? 'a long text' : `"${value}"`
  if (Array.isArray(value)) return `a list of ${value.length}`
  return typeof value === 'object' && value !== null ? '{ … }' : String(value)
}
