import type { DuckDBConnection, StatementSink } from '../core/duckdb.ts'
import type { Catalog } from './catalog-writer.ts'

/** A change of views that nobody sees before `commit`. One of the two is to be called. */
export interface ViewChange<T> {
  /** Resolves to what the work gave. When it throws, nothing is changed. */
  commit(): Promise<T>
  rollback(): Promise<void>
}

/**
 * Changes views on a connection of its own, in two steps: planning a view takes milliseconds, which a commit has while it waits for the disk, and rows are inserted
 * meanwhile. Only for views that nobody else changes at the time: DuckDB lets one of two changes fail. One change at a time, others wait for its end.
 */
export class ViewChanges {
  readonly #connection: DuckDBConnection
  readonly #catalog: Catalog
  #last: Promise<void> = Promise.resolve()

  constructor(connection: DuckDBConnection, catalog: Catalog) {
    this.#connection = connection
    this.#catalog = catalog
  }

  /** Runs what `work` gives to its sink. */
  async prepare<T>(work: (sink: StatementSink) => Promise<T>): Promise<ViewChange<T>> {
    const before = this.#last
    let end = () => {}
    this.#last = new Promise((resolve) => (end = resolve))
    await before
    const rollback = async () => {
      await this.#connection.run('ROLLBACK').catch(() => {}) // of an error that has ended it there is nothing left
      end()
    }
    try {
      const statements = ['BEGIN TRANSACTION']
      const result = await work({ run: async (sql) => void statements.push(sql) })
      await this.#connection.run(statements.join(';\n'))
      return { commit: () => this.#commit(result, rollback, end), rollback }
    } catch (error) {
      await rollback()
      throw error
    }
  }

  async #commit<T>(result: T, rollback: () => Promise<void>, end: () => void): Promise<T> {
    try {
      await this.#connection.run('COMMIT')
    } catch (error) {
      await rollback()
      throw error
    }
    this.#catalog.changed()
    end()
    return result
  }
}
