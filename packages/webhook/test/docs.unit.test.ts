/** docs/configuration.md and docs/webhooks.md, compared with the sink. */
import { errors } from 'undici'
import { readPage } from '@postrider/test/docs'
import { expect, test } from 'vitest'
import { checkOptions } from '../src/check-options.ts'
import { classifyAnswer, classifyFailure, type Answer } from '../src/classify.ts'
import { Cut } from '../src/exchange.ts'
import { Unreachable } from '../src/unreachable.ts'
import { secret } from './event.ts'

const configured = readPage('docs/configuration.md').rowsOf('Webhook sinks')
const answers = readPage('docs/webhooks.md').rowsOf('What an answer means')

test('the defaults are those of the sink', () => {
  const written = Object.fromEntries(configured.map(([key, standard = '']) => [key, standard.replaceAll(',', '')]))
  const { format, trust, capture, connections, timeouts, userAgent, headers, permanentStatuses, tls, dnsServers } = checkOptions({
    name: 'docs',
    url: 'https://example.com:443/',
    secrets: { current: secret },
  })
  expect(written).toMatchObject({ format, trust, capture, connections: String(connections) })
  for (const [name, ms] of Object.entries(timeouts)) expect(written[`timeouts.${name}`], name).toBe(String(ms))
  expect(userAgent).toMatch(/^Postrider\/\d/)
  expect([headers, permanentStatuses.size, tls, dnsServers]).toEqual([{}, 0, {}, []])
  const refused = (port: number): boolean => {
    try {
      checkOptions({ name: 'docs', url: `https://example.com:${port}/`, secrets: { current: secret } })
      return false
    } catch {
      return true
    }
  }
  expect([refused(Number(written['ports'])), refused(8443)]).toEqual([false, true])
})

/** Which row speaks of an answer. */
function rowFor({ status, retryAfter, never = false }: Answer): string {
  if (status < 300) return '2xx'
  if (status === 410) return '410'
  if (never || [413, 415, 431].includes(status)) return '413, 415, 431'
  if (status === 429) return '429'
  if (status === 503 && retryAfter !== undefined) return '503 with Retry-After'
  if (status < 400) return '3xx'
  if (status === 408 || status === 425) return '408, 425'
  return status < 500 ? 'other 4xx' : '5xx'
}

const begins = {
  delivered: /^delivered$/,
  retry: /^retried/,
  throttled: /^the (sink pauses|same)/,
  reject: /^dead/,
  gone: /^asked again/,
}

test('every answer means what the page says', () => {
  const seen = new Set<string>()
  for (let status = 200; status <= 599; status++) {
    for (const answer of [{ status }, { status, retryAfter: '30' }, { status, never: true }]) {
      const row = answers.find(([name]) => name === rowFor(answer))
      const outcome = classifyAnswer(answer, new Set(), 0)
      seen.add(row?.[0] ?? '')
      expect(row?.[1], JSON.stringify(answer)).toMatch(begins[outcome.kind])
      expect(row?.[2], JSON.stringify(answer)).toBe('error' in outcome ? `\`${outcome.error.code}\`` : '')
      if (outcome.kind === 'retry')
        expect(row?.[1]?.includes(`${outcome.maxAttempts} attempts at most`)).toBe(outcome.maxAttempts !== undefined)
    }
  }
  expect([...seen, 'no answer', 'a forbidden address'].sort()).toEqual(answers.map(([name]) => name).toSorted())
})

test('no answer means what the page says', () => {
  const failures = [
    new Cut('deadline'),
    new Unreachable('dns', 'x'),
    new Unreachable('connect', 'x'),
    new Unreachable('tls', 'x'),
    new errors.HeadersOverflowError(),
  ]
  const codes = failures.map((failure) => {
    const outcome = classifyFailure(failure)
    return outcome.kind === 'retry' ? `\`${outcome.error.code}\`` : outcome.kind
  })
  expect(answers.find(([name]) => name === 'no answer')?.[2]).toBe(codes.join(', '))
  const forbidden = classifyFailure(new Unreachable('blocked', 'x'))
  expect(forbidden).toMatchObject({ kind: 'reject', error: { code: 'blocked_target' } })
  expect(answers.find(([name]) => name === 'a forbidden address')?.slice(1)).toEqual(['dead', '`blocked_target`'])
})
