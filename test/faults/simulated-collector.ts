import { createCollector, type Collector } from '../../src/collect/collector.ts'
import { realClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { openEventLog, type EventLog } from '../../src/log/event-log.ts'
import { exampleDefinition } from '../collect/harness.ts'
import type { SimulatedFiles } from '../support/simulated-files.ts'

/** The collector on a log whose disk is simulated, in this process: for machines where a real disk can't be made to fail. */
export class SimulatedCollector {
  readonly log: EventLog
  readonly port: number
  readonly #collector: Collector

  private constructor(log: EventLog, collector: Collector, port: number) {
    this.log = log
    this.#collector = collector
    this.port = port
  }

  static async start(files: SimulatedFiles): Promise<SimulatedCollector> {
    const own = {
      files,
      clock: realClock,
      logger: silentLogger,
      settings: resolveSettings(),
    }
    const log = await openEventLog({
      ...own,
      folder: '/data/log',
      floors: new Map(),
      repair: false,
    })
    if (log.topic('events') === undefined) await log.createTopic({ name: 'events', partitions: 1 })
    const collector = createCollector({
      ...own,
      log,
      definition: exampleDefinition,
      accessLog: null,
      health: () => ({ ready: !log.states().some(refuses), reasons: [] }),
      metrics: () => [],
      backlogBytes: () => 0,
      bodyDelayMs: () => 0,
    })
    return new SimulatedCollector(log, collector, await collector.listen('127.0.0.1', 0))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#collector.close()
    await this.log.close()
  }
}

const refuses = (state: { readonly diskFull: boolean; readonly offline: string | null }) =>
  state.diskFull || state.offline !== null
