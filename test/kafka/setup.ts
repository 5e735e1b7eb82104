/** Vitest's global set-up: one broker for all test files of the project `kafka`. */
import type { TestProject } from 'vitest/node'
import { openSource } from './source.ts'

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const source = await openSource()
  const { bootstrap, canStart, reason, startReason } = source
  if (bootstrap === null) console.warn(`The tests that share a Kafka are skipped: ${reason}.`)
  if (!canStart) console.warn(`The tests that break a Kafka are skipped: ${startReason}.`)
  project.provide('kafka', { bootstrap, canStart, reason, startReason })
  return async () => source[Symbol.asyncDispose]()
}
