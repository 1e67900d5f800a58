import { expect, test } from 'vitest'
import { startScreen } from '../../src/app/screen.ts'
import { definitionOf } from './fixtures/fake-system.ts'

const parts = {
  version: '0.1.0',
  definition: definitionOf('purchase_a_sword', 'join_guild'),
  definitionVersion: 3,
  config: '/srv/game/questlog.config.ts',
  data: '/srv/game/questlog-data',
  cwd: '/srv/game',
  kept: 41_220,
  endpoints: {
    collector: 'http://127.0.0.1:5000',
    broker: '127.0.0.1:9092',
    sql: 'http://127.0.0.1:8080',
  },
  detached: false,
}

test('the start screen tells definition, data, addresses with routes and tables, and ends as Flask does', () => {
  const table = { ...parts.definition, tables: [] }
  expect(startScreen({ ...parts, definition: table }).join('\n')).toBe(`questlog 0.1.0

  definition  ./questlog.config.ts, version 3: 2 events, 0 tables
  data        41,220 events in ./questlog-data
  collector   http://127.0.0.1:5000
                GET /purchase_a_sword  purchase_a_sword
                GET /join_guild        join_guild
                POST /events
  broker      127.0.0.1:9092 for Kafka clients
  sql         http://127.0.0.1:8080
                questlog sql "show tables"

 * Serving questlog "questlog.config.ts"
 * Running on http://127.0.0.1:5000/ (Press CTRL+C to quit)`)
})

test('in the background it says how to stop; a role alone shows only what it serves', () => {
  const screen = startScreen({
    ...parts,
    kept: undefined,
    endpoints: { ...parts.endpoints, collector: null, broker: null },
    detached: true,
  })
  expect(screen.at(-1)).toBe(' * Running on http://127.0.0.1:8080/ (stop it with: questlog down)')
  expect(screen.join('\n')).not.toMatch(/collector|broker/)
  expect(screen).toContain('  data        ./questlog-data')
})

test('many routes are cut with a count', () => {
  const types = Array.from({ length: 30 }, (_, index) => `event_${index}`)
  const screen = startScreen({ ...parts, definition: definitionOf(...types) })
  expect(screen).toContain('                … and 10 routes more')
})
