import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { EmbeddedLog } from '../../src/engines/embedded-log.ts'
import { KafkaLog } from '../../src/engines/kafka-log.ts'
import type { LogClient } from '../../src/engines/log-client.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { start } from '../kafka/harness.ts'
import { openLog } from '../log/support.ts'
import { kafkaLogOptions } from '../support/kafka-log.ts'
import { logClientContract, type OpenedLog } from './log-client.contract.ts'

/** A log on the real disk with a listener for Kafka clients. */
async function open(
  clientOf: (log: EventLog, bootstrap: string) => Promise<LogClient> | LogClient,
): Promise<OpenedLog> {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-log-client-'))
  const log = await openLog(realFiles, { clock: realClock, folder: join(folder, 'log') })
  const { broker, port } = await start({ log })
  const bootstrap = `127.0.0.1:${port}`
  const client = await clientOf(log, bootstrap)
  let closed: Promise<void> | undefined
  const close = async () => {
    await client.close()
    await log.close()
    await broker.close()
    await rm(folder, { recursive: true, force: true })
  }
  return { log: client, bootstrap, close: () => (closed ??= close()) }
}

logClientContract('the embedded log', () => open((log) => new EmbeddedLog(log)))
logClientContract('a Kafka client on our own listener', () =>
  open((_, bootstrap) => KafkaLog.open(kafkaLogOptions(bootstrap))),
)
