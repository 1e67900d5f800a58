import { inOneText, type DuckDBConnection, type StatementSink } from '../core/duckdb.ts'
import { Exclusive } from '../core/exclusive.ts'

/** What a prepared statement's plan depends on: another `version` after every change of DuckDB's catalog. */
export interface Catalog {
  readonly version: number
  /** To be called when a transaction is committed that has made, replaced or dropped a table or a view. */
  changed(): void
}

export function newCatalog(): Catalog {
  let version = 0
  return {
    get version() {
      return version
    },
    changed: () => void version++,
  }
}

/**
 * The connection that writes to DuckDB, for one piece of work at a time, and what is known of the catalog: a statement that was prepared before
 * a change of it is planned anew in each run from then on (DuckDB 1.5.6), which costs more than to run it; preparing it again ends that.
 */
export class CatalogWriter extends Exclusive<DuckDBConnection> {
  readonly catalog: Catalog = newCatalog()

  /** As of `Exclusive`; the catalog counts as changed afterwards. */
  override run<R>(work: (connection: DuckDBConnection) => Promise<R>): Promise<R> {
    return super.run((connection) => work(connection).finally(() => this.catalog.changed()))
  }

  /** The same for work that says so itself when it has changed the catalog, or does so by `changeInOneText`. */
  runRows<R>(work: (connection: DuckDBConnection) => Promise<R>): Promise<R> {
    return super.run(work)
  }

  /** `inOneText` of statements that change the catalog, while the connection is held. */
  async changeInOneText<T>(
    connection: DuckDBConnection,
    work: (sink: StatementSink) => Promise<T>,
  ): Promise<T> {
    let isChange = false
    const result = await inOneText(connection, (sink) =>
      work({
        run: (sql) => {
          isChange = true
          return sink.run(sql)
        },
      }),
    )
    if (isChange) this.catalog.changed()
    return result
  }
}
