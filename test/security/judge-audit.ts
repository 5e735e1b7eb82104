/** What came of an audit. */
export interface Verdict {
  readonly line: string
  /** 0 also where nothing could be audited: that is said, and is nobody's fault here. */
  readonly code: 0 | 1
}

const failing = ['high', 'critical'] as const
const severities = ['critical', 'high', 'moderate', 'low', 'info'] as const

/** Reads what `npm audit --json` has printed. */
export function judgeAudit(stdout: string, complaint: string): Verdict {
  const report = parsed(stdout)
  const counts = report?.metadata?.vulnerabilities
  if (counts === undefined) {
    const why = report?.message ?? report?.error?.summary ?? (complaint.trim().split('\n').at(-1) || 'no answer')
    return {
      line: `✗ NOTHING WAS AUDITED: the registry has no endpoint for it, or cannot be reached (${why}).\n  Run it again where the public registry of npm answers.`,
      code: 0,
    }
  }
  const found = severities.flatMap((severity) => ((counts[severity] ?? 0) > 0 ? [`${counts[severity]} ${severity}`] : []))
  const names = Object.values(report?.vulnerabilities ?? {}).flatMap(({ name, severity }) =>
    failing.some((one) => one === severity) ? [`  ${severity}: ${name}`] : [],
  )
  const bad = failing.some((severity) => (counts[severity] ?? 0) > 0)
  return {
    line: [`${bad ? '✗' : '✓'} audited: ${found.length === 0 ? 'nothing is known against it' : found.join(', ')}`, ...names].join(
      '\n',
    ),
    code: bad ? 1 : 0,
  }
}

interface Report {
  readonly message?: string
  readonly error?: { readonly summary?: string }
  readonly metadata?: { readonly vulnerabilities?: Readonly<Record<string, number>> }
  readonly vulnerabilities?: Readonly<Record<string, { readonly name: string; readonly severity: string }>>
}

function parsed(text: string): Report | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' ? value : null
  } catch {
    return null
  }
}
