import { QuestlogError, type ErrorCode } from '../core/errors.ts'

/** Where in the text: both count from 1, `column` in characters. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** What a refused or failed statement is answered with. */
export interface SqlErrorReport {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
  readonly line: number | null
  readonly column: number | null
  /** Names that the statement may have meant, written as SQL takes them. */
  readonly suggestions: readonly string[]
}

/** A statement that can't be served, with the place in its text and what may have been meant. */
export class SqlError extends QuestlogError {
  readonly place: Place | undefined
  readonly suggestions: readonly string[]

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      place?: Place | undefined
      suggestions?: readonly string[]
      hint?: string | undefined
      cause?: unknown
    } = {},
  ) {
    super(
      code,
      message,
      { line: options.place?.line, column: options.place?.column },
      {
        cause: options.cause,
        ...(options.hint === undefined ? {} : { hint: options.hint }),
      },
    )
    this.place = options.place
    this.suggestions = options.suggestions ?? []
  }
}

/** Any error as the answer's `error` object. */
export function reportError(error: QuestlogError): SqlErrorReport {
  const place = error instanceof SqlError ? error.place : undefined
  return {
    code: error.code,
    message: error.message,
    hint: error.hint,
    line: place?.line ?? null,
    column: place?.column ?? null,
    suggestions: error instanceof SqlError ? error.suggestions : [],
  }
}

/** The line and column of a UTF-16 position. A pair of surrogates is one character. */
export function placeAt(text: string, position: number): Place {
  const before = text.slice(0, position)
  const lineStart = before.lastIndexOf('\n') + 1
  let line = 1
  for (let at = before.indexOf('\n'); at !== -1; at = before.indexOf('\n', at + 1)) line++
  return { line, column: Array.from(before.slice(lineStart)).length + 1 }
}
