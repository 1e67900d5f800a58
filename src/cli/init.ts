import { join } from 'node:path'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'

const starterName = 'questlog.config.ts'

/** The definition that a new project begins with. Every key that is not shown here is in docs/reference/definition.md. */
export const starterConfig = `// The events of your game, and the tables they become. Save this file while questlog runs: the change is live.
//
//   questlog check       says what this file declares, or what is wrong and where
//   questlog up          starts everything
//
// Types in your editor: npm install --save-dev questlog zod (not needed to run).
import { defineConfig, event, table } from 'questlog'
import { z } from 'zod'

export default defineConfig({
  // One event for each thing that happens. The name is its event_type.
  events: {
    // curl http://127.0.0.1:5000/
    default: event({ route: 'GET /', reply: 'Hello!\\n' }),

    // curl 'http://127.0.0.1:5000/purchase_a_sword?color=red&damage=5'
    purchase_sword: event({
      route: 'GET /purchase_a_sword',
      reply: 'Sword purchased!\\n',
      // Declared parameters become typed columns. All others stay in the column raw_event.
      params: z.object({
        color: z.string().optional(),
        damage: z.int32().optional(),
      }),
    }),

    // Without a route: POST /events with {"event_type":"level_done","level":3}
    level_done: event({ params: z.object({ level: z.int32() }) }),
  },

  // A table takes one or more events, or '*' for all of them. It fills itself from the beginning of the log.
  tables: {
    events: table({ from: '*' }),
    sword_purchases: table({ from: 'purchase_sword' }),
    // strong_swords: table({ from: 'purchase_sword', where: 'damage >= 5', trigger: '1m' }),
  },

  // settings: { durability: 'fsync' },
})
`

/** Writes the starter definition into the folder and returns the paths written. Never overwrites: USAGE when there is one. */
export async function writeStarter(folder: string, files: Files): Promise<string[]> {
  const path = join(folder, starterName)
  await files.makeFolder(folder)
  try {
    await files.writeNew(path, Buffer.from(starterConfig))
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error
    throw new QuestlogError(
      'USAGE',
      `${path} is there already and stays as it is`,
      { path },
      { cause: error, hint: 'edit it, or name another folder' },
    )
  }
  await files.syncFolder(folder)
  return [path]
}
