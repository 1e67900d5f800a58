export { QuestlogError, type ErrorCode } from './core/errors.ts'
export {
  defineConfig,
  event,
  table,
  type Config,
  type EventConfig,
  type JsonSchema,
  type ParamsSchema,
  type RouteText,
  type TableConfig,
  type TopicConfig,
} from './plan/authoring.ts'
