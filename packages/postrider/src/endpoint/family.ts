import { PostriderError } from '@postrider/schema'
import { createWebhookEndpoints, sealerOf, type Sealer, type WebhookEndpoints } from '@postrider/webhook'
import type { Settings } from '../config.ts'
import { loadOneSink, type ConfigFlags } from '../config/load.ts'
import { ownPlaces } from '../own-places.ts'
import { endpointsOptions } from '../sinks.ts'

/** What the configuration says about the endpoints of a sink. */
export interface Family {
  readonly settings: Pick<Settings, 'database' | 'schema' | 'health'>
  /** As the relay opens them. */
  readonly endpoints: WebhookEndpoints
  /** The same, but every answer is kept whole, as far as sinks keep it. */
  readonly talkative: WebhookEndpoints
  /** Null without `secretKey`. */
  readonly sealer: Sealer | null
}

/** @throws PostriderError `invalid_options` when the configuration has no such sink with endpoints. */
export async function loadFamily(sink: string, flags: ConfigFlags): Promise<Family> {
  const { settings, file } = await loadOneSink(sink, flags)
  const config = settings.sinks[sink]
  if (config?.endpoints === undefined) {
    const problem =
      config === undefined
        ? `sinks.${sink}: is not in the configuration`
        : `sinks.${sink}.endpoints: is missing, so it is a single destination`
    throw new PostriderError('invalid_options', `${problem} (${file ?? 'there is no file'})`, { problems: [problem] })
  }
  const options = endpointsOptions(sink, config, ownPlaces(settings))
  return {
    settings,
    endpoints: createWebhookEndpoints(options),
    talkative: createWebhookEndpoints({ ...options, capture: 'all' }),
    sealer: sealerOf(options),
  }
}
