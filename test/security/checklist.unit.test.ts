/** docs/security.md and SECURITY.md keep their word: each proof that they name is a test that is there. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readPage, root } from '../docs/pages.ts'

const page = readPage('docs/security.md')
const policy = readPage('SECURITY.md')

interface Proof {
  readonly name: string
  readonly file: string
}

/** Links to tests, whose text is the name of the test. */
function proofsOf(text: string): readonly Proof[] {
  return [...text.matchAll(/\[([^\]]+)\]\(\.\.\/([^)]+\.test\.ts)\)/g)].map(([, name = '', file = '']) => ({ name, file }))
}

/** Whether a file has a test, or a group of tests, of this name. */
function isThere({ name, file }: Proof): boolean {
  if (!existsSync(join(root, file))) return false
  const source = readFileSync(join(root, file), 'utf8')
  const quoted = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(
    `(?:test|it|describe)\\b[^\\n]*\\(\\s*(['"\`])${quoted}\\1|^[ \\])]*\\)\\(\\s*(['"\`])${quoted}\\2`,
    'm',
  ).test(source)
}

const rows = [...page.text.matchAll(/^\| (\d+) +\|(.*)\|$/gm)].map(([, number, cells = '']) => ({
  number: Number(number),
  cells,
}))

test('the checklist has twenty rows, each with a rule, how it is kept, and a proof', () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1))
  for (const { number, cells } of rows) {
    const [rule = '', how = '', proof = ''] = cells.split('|').map((cell) => cell.trim())
    expect([number, rule.length >= 10, how.length > 10, proofsOf(proof).length > 0]).toEqual([number, true, true, true])
  }
})

test('every proof is a test of that name in that file', () => {
  const proofs = proofsOf(page.text)
  expect(proofs.length).toBeGreaterThan(40)
  expect(proofs.filter((proof) => !isThere(proof))).toEqual([])
})

test('a test that is not there is noticed', () => {
  const [proof] = proofsOf(page.text)
  expect(isThere({ ...proof!, name: `${proof!.name} and more` })).toBe(false)
  expect(isThere({ ...proof!, file: 'packages/webhook/test/nowhere.test.ts' })).toBe(false)
  expect(isThere({ file: 'test/security/checklist.unit.test.ts', name: 'docs/security.md' })).toBe(false)
})

test('every link of SECURITY.md leads somewhere', () => {
  const broken = policy.links.filter((link) => {
    const [file = '', anchor] = link.split('#')
    if (/^(?:https|mailto):/.test(link)) return !URL.canParse(link)
    return !existsSync(join(root, file)) || (anchor !== undefined && !readPage(file).anchors.includes(anchor))
  })
  expect(policy.links.length).toBeGreaterThan(2)
  expect(broken).toEqual([])
})
