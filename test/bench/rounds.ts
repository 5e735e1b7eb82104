import type { Row, Say } from './bench.ts'

/** What was measured once. A figure that could not be had on this machine is null, and is left out. */
export type Figures = Readonly<Record<string, number | null>>

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** To four digits that count, so that no figure seems more exact than it is. */
export function rounded(value: number): number {
  return Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4))
}

/** Figures of several rounds, by variant. */
export class Rounds {
  readonly #variants = new Map<string, { readonly labels: Row; readonly figures: Map<string, number[]> }>()

  /** @param labels what the variant is: the first columns of its row */
  add(labels: Row, figures: Figures): void {
    const key = JSON.stringify(labels)
    const variant = this.#variants.get(key) ?? { labels, figures: new Map<string, number[]>() }
    this.#variants.set(key, variant)
    for (const [name, value] of Object.entries(figures)) {
      if (value !== null) variant.figures.set(name, [...(variant.figures.get(name) ?? []), value])
    }
  }

  /** Every value of a figure of one variant, in the order of the rounds. */
  values(labels: Row, figure: string): readonly number[] {
    return this.#variants.get(JSON.stringify(labels))?.figures.get(figure) ?? []
  }

  /** One row for each variant: its labels, and of each figure the median, the least and the greatest. */
  rows(): Row[] {
    return [...this.#variants.values()].map(({ labels, figures }) => ({
      ...labels,
      ...Object.fromEntries(
        [...figures].flatMap(([name, values]) => [
          [name, rounded(median(values))],
          [`${name} min`, rounded(Math.min(...values))],
          [`${name} max`, rounded(Math.max(...values))],
        ]),
      ),
    }))
  }
}

/**
 * Measures every variant in each round. Rounds go through them forwards and backwards by turns (A B, B A, …), so that a machine
 * that becomes slower or faster meanwhile does so for all of them.
 */
export async function takeTurns<Variant>(
  variants: readonly Variant[],
  rounds: number,
  say: Say,
  measure: (variant: Variant, round: number) => Promise<{ readonly labels: Row; readonly figures: Figures }>,
): Promise<Rounds> {
  const results = new Rounds()
  for (let round = 1; round <= rounds; round++) {
    for (const variant of round % 2 === 1 ? variants : variants.toReversed()) {
      const { labels, figures } = await measure(variant, round)
      results.add(labels, figures)
      const shown = [...Object.values(labels), ...Object.entries(figures).map(([name, value]) => `${name} ${shortly(value)}`)]
      say(`round ${round} of ${rounds}: ${shown.join(', ')}`)
    }
  }
  return results
}

function shortly(value: number | null): string {
  return value === null ? '–' : String(rounded(value))
}
