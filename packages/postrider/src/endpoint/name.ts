import { InvalidArgumentError } from 'commander'

/** `hooks/acme`: an endpoint, and the sink that it belongs to. */
export interface EndpointName {
  readonly sink: string
  readonly name: string
  readonly whole: string
}

/** For an argument that names an endpoint. */
export function endpointName(text: string): EndpointName {
  const [, sink = '', name = ''] = /^([a-z0-9][a-z0-9_-]{0,62})\/([a-z0-9][a-z0-9_-]{0,62})$/.exec(text) ?? []
  if (name === '') throw new InvalidArgumentError('Expected the name of a sink and of its endpoint, such as hooks/acme.')
  return { sink, name, whole: text }
}
