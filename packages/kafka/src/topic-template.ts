import type { LogEvent } from '@postrider/schema'

/** Legal names of topics: `org.apache.kafka.common.internals.Topic`. */
const topicPattern = /^[a-zA-Z0-9._-]{1,249}$/
const placeholderPattern = /\{([^{}]*)\}/g
const fieldPattern = /^(?:type|type\.[0-9]|tenant|source)$/

/** Makes the name of a topic from an event; null when a part of it is missing or the name is not legal. */
export type TopicOf = (event: LogEvent) => string | null

/** What is wrong with a template, or null. */
export function templateProblem(template: string): string | null {
  if (template === '') return 'is empty'
  for (const [placeholder, field = ''] of template.matchAll(placeholderPattern)) {
    if (!fieldPattern.test(field)) return `${placeholder} is none of {type}, {type.0} to {type.9}, {tenant}, {source}`
  }
  const sample = template.replace(placeholderPattern, 'x')
  return isTopicName(sample) ? null : 'makes names with characters that no topic may have (letters, digits, . _ -, at most 249)'
}

/**
 * `{type}` is the type, `{type.0}` to `{type.9}` a segment of it, `{tenant}` and `{source}` the attributes. Nothing is replaced
 * or cut to make a name legal: two different events could then share a topic by accident.
 */
export function compileTemplate(template: string): TopicOf {
  const parts = template.split(placeholderPattern) // literal, field, literal, field, …
  const names = new Map<string, string | null>()
  const make = (event: LogEvent): string | null => {
    let name = ''
    for (const [index, part] of parts.entries()) {
      const text = index % 2 === 0 ? part : valueOf(part, event)
      if (text === null) return null
      name += text
    }
    return isTopicName(name) ? name : null
  }
  if (/\{(?:tenant|source)\}/.test(template)) return make
  return (event) => {
    let name = names.get(event.type)
    if (name === undefined) {
      name = make(event)
      if (names.size < 10_000) names.set(event.type, name)
    }
    return name
  }
}

export function isTopicName(name: string): boolean {
  return topicPattern.test(name) && name !== '.' && name !== '..'
}

/** A part that is absent or empty would fold the topics of different events into one. */
function valueOf(field: string, event: LogEvent): string | null {
  if (field === 'type') return event.type
  if (field === 'tenant') return event.tenant === '' ? null : event.tenant
  if (field === 'source') return event.source === '' ? null : event.source
  return event.type.split('.')[Number(field.slice('type.'.length))] ?? null
}
