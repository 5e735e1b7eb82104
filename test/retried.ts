import { writeFileSync } from 'node:fs'
import type { Reporter, TestCase } from 'vitest/node'

/**
 * Names the tests that failed at first and passed when they were tried again, with what was wrong. One such test is no reason to
 * refuse a change, and always a reason to look: it has a race, or what it tests has.
 */
export class RetriedReporter implements Reporter {
  readonly #retried: TestCase[] = []
  readonly #countFile: string | undefined

  /** @param countFile where their number is written */
  constructor(countFile?: string) {
    this.#countFile = countFile
  }

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky === true) this.#retried.push(test)
  }

  onTestRunEnd(): void {
    if (this.#countFile !== undefined) writeFileSync(this.#countFile, String(this.#retried.length))
    for (const test of this.#retried) {
      const wrong = (test.result().errors ?? []).map(({ message, stacks }) => {
        const [at] = stacks ?? []
        return `\n    ${message}${at === undefined ? '' : ` (${at.file}:${at.line})`}`
      })
      process.stderr.write(`! passed only when it was tried again: ${test.module.moduleId} > ${test.fullName}${wrong.join('')}\n`)
    }
  }
}
