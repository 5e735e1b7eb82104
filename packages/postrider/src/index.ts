export {
  defineConfig,
  type Config,
  type DatabaseConfig,
  type HealthConfig,
  type KafkaConfig,
  type LogLevel,
  type RelayConfig,
  type Settings,
  type SinkConfig,
  type WebhookConfig,
  type WebhookEndpointsConfig,
} from './config.ts'
export { loadConfig, type ConfigFlags, type Loaded, type Surroundings } from './config/load.ts'
