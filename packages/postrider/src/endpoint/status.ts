import { style } from '../print.ts'
import type { Verification } from './verify.ts'

/** A row of `postrider.endpoint_status`. */
export interface EndpointStatus {
  readonly endpoint: string
  readonly sink: string
  readonly origin: string
  readonly state: 'pending' | 'active' | 'degraded' | 'paused' | 'disabled' | 'gone'
  readonly state_since: Date
  readonly state_until: Date | null
  readonly state_by: string | null
  readonly state_reason: string | null
  readonly types: readonly string[] | null
  readonly tenant: string | null
  readonly lanes: number
  readonly concurrency: number
  readonly rate: number | null
  readonly failing_since: Date | null
  readonly failures: number
  readonly circuit_until: Date | null
  readonly error_code: string | null
  readonly error: string | null
  readonly format: string | null
  readonly headers: readonly string[]
  readonly verification: Verification
  readonly verified_at: Date | null
  readonly created_by: string
  readonly created_at: Date
  readonly changed_at: Date
}

/** As `--json` prints it: the columns in camel case. */
export function shownStatus(row: EndpointStatus): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value as unknown,
    ]),
  )
}

/** The state, in the colour of how much it matters. */
export function stateStyled({ state }: Pick<EndpointStatus, 'state'>): string {
  if (state === 'active') return state
  return style(state === 'degraded' || state === 'disabled' || state === 'gone' ? 'red' : 'yellow', state)
}
