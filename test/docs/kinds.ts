import { readPages, type Block, type Page } from './pages.ts'

/** What a block is, and so how it is held to its word. Each kind has a test that takes every block of it. */
export type Kind =
  /** Part of the page's program, which runs from top to bottom. */
  | 'program'
  /** A program of its own that receives webhooks. */
  | 'receiver'
  /** A program of its own that takes events into its database, by webhook. */
  | 'consumer'
  /** The same by Kafka: it is held to the compiler, because to run it takes a broker. */
  | 'consumer of Kafka'
  /** What `inboxTable` returns. */
  | 'table of the inbox'
  | 'sql'
  | 'shell'
  /** Commands about endpoints: where there is a sink `hooks` that has them, and somebody at their addresses. */
  | 'shell with endpoints'
  /** Commands about Kafka: where there is a cluster, a sink `main-kafka`, and, if its name says so, a relay. */
  | 'shell with Kafka'
  /** A whole configuration file. */
  | 'configuration'
  /** Keys of a configuration that has what it needs besides. */
  | 'part of a configuration'
  /** A request with its headers, in the format of its name. */
  | 'request'
  /** A body, in the format of its name. */
  | 'body'
  /** What the program prints or answers; compared in packages/postrider/test. */
  | 'output'
  | 'drawing'

const kinds: Readonly<Record<string, Kind>> = {
  ts: 'program',
  'ts receiver-standardwebhooks.ts': 'receiver',
  'ts receiver-postrider.ts': 'receiver',
  'ts consumer-node.ts': 'consumer',
  'ts consumer-express.ts': 'consumer',
  'ts consumer-fastify.ts': 'consumer',
  'ts consumer-hono.ts': 'consumer',
  'ts consumer-kafka.ts': 'consumer of Kafka',
  sql: 'sql',
  'sql inbox': 'table of the inbox',
  sh: 'shell',
  'sh endpoints': 'shell with endpoints',
  'sh kafka': 'shell with Kafka',
  'sh kafka relay': 'shell with Kafka',
  'yaml postrider.config.yaml': 'configuration',
  'ts postrider.config.ts': 'configuration',
  yaml: 'part of a configuration',
  'http standard': 'request',
  'http cloudevents-binary': 'request',
  'json standard': 'body',
  'json cloudevents': 'body',
  'json raw': 'body',
  'json log': 'output',
  'json healthz': 'output',
  'text road': 'drawing',
  'mermaid lifecycle': 'drawing',
}

/** @throws for a block that nobody knows, because nobody would check it */
export function kindOf({ language, name }: Block): Kind {
  const opening = `${language} ${name}`.trim()
  const kind = kinds[opening]
  if (kind === undefined)
    throw new Error(`nothing checks a block of "${opening}"; test/docs/kinds.ts names those that are checked`)
  return kind
}

export interface Placed {
  readonly page: Page
  readonly block: Block
  /** `docs/operating.md:12`. */
  readonly place: string
}

/** Every block of a kind, in the order of the pages. */
export function blocksOf(kind: Kind): readonly Placed[] {
  return readPages().flatMap((page) =>
    page.blocks.filter((block) => kindOf(block) === kind).map((block) => ({ page, block, place: `${page.path}:${block.line}` })),
  )
}
