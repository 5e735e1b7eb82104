/** `shadow`: nobody depends on the sink yet. Only Kafka sinks have it. */
export type Mode = 'shadow' | 'live'

const shadowKind = 'kafka-shadow'

/** What stands in `postrider.sinks.kind`, so that everybody who reads the database sees it. */
export function kindOf(mode: Mode): string {
  return mode === 'shadow' ? shadowKind : 'kafka'
}

export function modeOf(kind: string): Mode {
  return kind === shadowKind ? 'shadow' : 'live'
}

/** `main-kafka (shadow)`. */
export function withMode(name: string, kind: string): string {
  return modeOf(kind) === 'shadow' ? `${name} (shadow)` : name
}
