import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import type { PostgresVersion } from './postgres/embedded.ts'
import { givenUrl, serverVersion } from './postgres/source.ts'
import { RetriedReporter } from './retried.ts'

const unit = '**/*.unit.test.ts'
const heavy = '**/*.pg18.test.ts'
const kafka = '**/*.kafka.test.ts'
/** What has nothing of its own to say to an old PostgreSQL: the SQL that it uses is tested where it stands. */
const above = [
  'test/**',
  'packages/postrider/**',
  // The statements that these would send to it are sent by the other tests of the relay too.
  ...['care', 'isolation', 'pipelined', 'probe', 'schedules'].map((name) => `packages/relay/test/${name}.test.ts`),
]
const outside = ['**/node_modules/**', '**/dist/**']

/** Packages of this workspace run from their sources, without a build. */
const source = { conditions: ['@postrider/source'] }

/** Where .ci/run wants the results as JSON, beside the report on the screen. */
const reportFile = process.env['POSTRIDER_TEST_REPORT']

export default defineConfig(async () => ({
  root: join(import.meta.dirname, '..'),
  resolve: source,
  ssr: { resolve: source },
  environments: { __vitest__: { resolve: source } }, // where the global set-up runs
  test: {
    pool: 'forks' as const,
    // Tests wait for the database and for deadlines more than they compute.
    maxWorkers: Math.min(4, Math.max(2, availableParallelism())),
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 40_000,
    // Whoever changes something sees every failure at once; a machine that decides about a change asks twice, and tells.
    retry: process.env['CI'] === undefined ? 0 : 1,
    reporters: [
      'default',
      new RetriedReporter(reportFile && join(dirname(reportFile), 'retried')),
      ...(reportFile ? [['json', { outputFile: reportFile }] as ['json', object]] : []),
    ],
    projects: [
      { extends: true as const, test: { name: 'unit', include: [unit], exclude: outside } },
      ...(givenUrl === undefined
        ? [postgres(18, 18), postgres(14, 14, [heavy, ...above]), withKafka(18)]
        : [postgres('given', await serverVersion(givenUrl)), withKafka('given')]),
    ],
  },
}))

/** The tests that need a database, on one version of PostgreSQL. */
function postgres(
  asked: PostgresVersion | 'given',
  version: number,
  without: readonly string[] = [],
): TestProjectInlineConfiguration {
  return {
    extends: true,
    test: {
      name: `postgres ${version}`,
      include: ['**/*.test.ts'],
      exclude: [...outside, unit, kafka, ...without],
      globalSetup: [join(import.meta.dirname, 'postgres', 'cluster.ts')],
      provide: { postgresVersion: asked },
    },
  }
}

/** The tests that need a Kafka too: one broker for all of them, on the newest PostgreSQL. */
function withKafka(asked: PostgresVersion | 'given'): TestProjectInlineConfiguration {
  return {
    extends: true,
    test: {
      name: 'kafka',
      include: [kafka],
      exclude: outside,
      globalSetup: [join(import.meta.dirname, 'postgres', 'cluster.ts'), join(import.meta.dirname, 'kafka', 'setup.ts')],
      provide: { postgresVersion: asked },
    },
  }
}
