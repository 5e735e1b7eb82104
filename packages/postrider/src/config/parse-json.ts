// What the parser says about a fault may repeat the text that it stumbled over, which may be a secret: it is left out, and no
// cause is kept.

/** @throws Error whose message is safe to show */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    const message = error instanceof Error ? error.message : 'it is no JSON'
    // oxlint-disable-next-line preserve-caught-error -- it quotes the text
    throw new Error(message.replace(/"[^]*"/, '"…"').replaceAll(/\s+/g, ' '))
  }
}
