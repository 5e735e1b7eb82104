import { compileTemplate, templateProblem } from '@postrider/kafka'
import { expect, it } from 'vitest'
import { anEvent } from './event.ts'

it.each([
  ['{type.0}', {}, 'order'],
  ['shop.{type}', {}, 'shop.order.placed'],
  ['{type.1}-{type.0}', {}, 'placed-order'],
  ['{tenant}.{type.0}', { tenant: 'acme' }, 'acme.order'],
  ['from.{source}', {}, 'from.shop'],
  ['all', {}, 'all'],
] as const)('the template %s makes a topic of an event', (template, change, expected) => {
  expect(templateProblem(template)).toBeNull()
  expect(compileTemplate(template)(anEvent(change))).toBe(expected)
})

it.each([
  ['{tenant}', { tenant: null }, 'the tenant is missing'],
  ['{tenant}', { tenant: '' }, 'the tenant is empty'],
  ['{tenant}', { tenant: 'a b' }, 'of a blank'],
  ['{source}', { source: 'urn:x/y' }, 'of a colon'],
  ['{tenant}', { tenant: '..' }, 'it is a pair of dots'],
  ['{tenant}', { tenant: 'x'.repeat(250) }, 'it is too long'],
  ['{type.4}', {}, 'the type has fewer segments'],
] as const)('the template %s makes none of %j: %s', (template, change, _why) => {
  expect(compileTemplate(template)(anEvent(change))).toBeNull()
})

it.each(['', '{nope}', 'a b', '{type.10}', 'ä', 'x'.repeat(250), '{}'])('%j is no template', (template) => {
  expect(templateProblem(template)).not.toBeNull()
})

it('a type that has been seen gives the same topic again, and another type another', () => {
  const topicOf = compileTemplate('{type.0}')
  expect([topicOf(anEvent()), topicOf(anEvent({ type: 'user.made' })), topicOf(anEvent())]).toEqual(['order', 'user', 'order'])
})
