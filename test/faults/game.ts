import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A definition file of one event `hit` and the tables that these lines add. */
export class Game {
  readonly config: string
  /** Temporary, and removed in the end. */
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
    this.config = join(folder, 'questlog.config.ts')
  }

  static async write(tables: string): Promise<Game> {
    const game = new Game(await mkdtemp(join(tmpdir(), 'questlog-game-')))
    await writeFile(
      game.config,
      `import { defineConfig, event, table } from 'questlog'
export default defineConfig({
  events: { hit: event({ route: 'GET /hit', reply: 'ok\\n' }) },
  tables: { ${tables} },
})
`,
    )
    return game
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}
