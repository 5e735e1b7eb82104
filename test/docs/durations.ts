const units: Readonly<Record<string, number>> = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 }

/** `5 s, 2 min, 6 × 24 h`, in milliseconds. */
export function readDurations(text: string): number[] {
  return text.split(', ').flatMap((part) => {
    const [, times = '1', value = '', unit = ''] = /^(?:(\d+) × )?(\d+) (s|min|h|d)$/.exec(part) ?? []
    const ms = Number(value) * (units[unit] ?? Number.NaN)
    if (Number.isNaN(ms) || value === '') throw new Error(`not a duration: ${part}`)
    return Array<number>(Number(times)).fill(ms)
  })
}
