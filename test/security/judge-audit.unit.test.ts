import { expect, test } from 'vitest'
import { judgeAudit } from './judge-audit.ts'

const report = (counts: object, vulnerabilities: object = {}): string =>
  JSON.stringify({ metadata: { vulnerabilities: counts }, vulnerabilities })

test('what is high or critical fails, by name; what is less is told', () => {
  expect(judgeAudit(report({ high: 0, low: 0 }), '')).toEqual({ line: '✓ audited: nothing is known against it', code: 0 })
  expect(judgeAudit(report({ low: 2, moderate: 1 }), '')).toEqual({ line: '✓ audited: 1 moderate, 2 low', code: 0 })
  const found = judgeAudit(
    report({ critical: 1, low: 1 }, { a: { name: 'a', severity: 'critical' }, b: { name: 'b', severity: 'low' } }),
    '',
  )
  expect(found).toEqual({ line: '✗ audited: 1 critical, 1 low\n  critical: a', code: 1 })
})

test('where there is no endpoint nothing fails, and nobody can take it for an audit', () => {
  const refused = JSON.stringify({
    message: '405 Method Not Allowed - POST https://registry.test/-/npm/v1/security/advisories/bulk',
    error: { summary: '' },
  })
  for (const [stdout, complaint] of [
    [refused, ''],
    ['', 'npm error\nETIMEDOUT'],
    ['<html>', ''],
    ['null', ''],
  ] as const) {
    const { line, code } = judgeAudit(stdout, complaint)
    expect(line).toMatch(/^✗ NOTHING WAS AUDITED/)
    expect(code).toBe(0)
  }
  expect(judgeAudit(refused, '').line).toContain('405 Method Not Allowed')
  expect(judgeAudit('', 'npm error\nETIMEDOUT').line).toContain('ETIMEDOUT')
})
