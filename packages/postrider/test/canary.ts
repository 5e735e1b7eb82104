import { randomBytes } from 'node:crypto'

/** Secrets that are known to nobody else, to be looked for in all that comes out. */
export interface Canaries {
  /** A new one, under a name for the report. `text` makes it look like what it stands for. */
  plant(name: string, text?: (token: string) => string): string
  /** One that was made elsewhere, such as a signing secret. */
  add(name: string, secret: string): string
  /** Notes a text that came out. */
  heard(where: string, text: string): void
  /** `where: name`, for each place in which one of them stands, in clear or merely encoded. */
  found(): readonly string[]
  /** How much was looked through. */
  readonly places: number
}

export function createCanaries(): Canaries {
  const forms = new Map<string, readonly string[]>()
  const texts: { readonly where: string; readonly text: string }[] = []
  return {
    plant(name, text = (token) => token) {
      const token = `canary-${name}-${randomBytes(6).toString('hex')}`
      forms.set(name, formsOf(token))
      return text(token)
    },
    add(name, secret) {
      forms.set(name, formsOf(secret.replace(/^wh(?:sec|sk)_/, '')))
      return secret
    },
    heard: (where, text) => void texts.push({ where, text }),
    found: () =>
      texts.flatMap(({ where, text }) =>
        [...forms].flatMap(([name, all]) => (all.some((form) => text.includes(form)) ? [`${where}: ${name}`] : [])),
      ),
    get places() {
      return texts.length
    },
  }
}

/** As it is, as JSON and URLs write it, and as base64 and hex of it; of base64 also as it stands within a longer text. */
function formsOf(secret: string): readonly string[] {
  const base64 = [0, 1, 2].map((shift) =>
    Buffer.from('x'.repeat(shift) + secret)
      .toString('base64')
      .slice(shift === 0 ? 0 : 4, -4),
  )
  const raw = Buffer.from(secret, 'base64')
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    Buffer.from(secret).toString('hex'),
    ...base64,
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    ...(raw.length >= 24 ? [raw.toString('hex')] : []),
  ]
}
