import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root, with a slash at the end. */
export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url))

/** Folders that hold nothing of ours, or nothing that is kept. */
const foreignFolders = new Set(['node_modules', 'dist', 'coverage', '.git', 'questlog-data'])

/** A text file of the repository. */
export interface TextFile {
  /** From the root, with slashes. */
  readonly path: string
  readonly text: string
}

/** A TypeScript file, taken apart. */
export interface SourceFile extends TextFile {
  /** The text with every comment and the inside of every string blanked; line breaks stay. */
  readonly code: string
  readonly comments: readonly string[]
  /** Modules that it imports, re-exports or loads, as written. */
  readonly imports: readonly string[]
}

/** Paths of all files under a folder (from the root), sorted. */
export function listFiles(folder: string): string[] {
  const paths: string[] = []
  for (const entry of readdirSync(join(repositoryRoot, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (entry.isDirectory()) {
      if (!foreignFolders.has(entry.name)) paths.push(...listFiles(path))
    } else if (entry.isFile()) paths.push(path)
  }
  return paths.sort()
}

export function readText(path: string): TextFile {
  return { path, text: readFileSync(join(repositoryRoot, path), 'utf8') }
}

/** All TypeScript files under a folder. */
export function readSources(folder: string): SourceFile[] {
  return listFiles(folder)
    .filter((path) => /\.[cm]?tsx?$/.test(path))
    .map((path) => readSource(readText(path)))
}

export function readSource({ path, text }: TextFile): SourceFile {
  const { code, comments, strings } = scan(text)
  return { path, text, code, comments, imports: findImports(code, strings) }
}

interface Scan {
  readonly code: string
  readonly comments: readonly string[]
  /** Contents of the string literals, by the position of their opening quote in `code`. */
  readonly strings: ReadonlyMap<number, string>
}

/**
 * Blanks comments and the inside of strings. TypeScript 7 gives no syntax tree, so this knows just enough of the language: comments, quotes,
 * templates with expressions inside, and where a slash begins a regular expression.
 */
export function scan(text: string): Scan {
  const scanner = new Scanner(text)
  scanner.readCode('')
  return { code: scanner.code, comments: scanner.comments, strings: scanner.strings }
}

class Scanner {
  readonly #text: string
  #at = 0
  code = ''
  readonly comments: string[] = []
  readonly strings = new Map<number, string>()

  constructor(text: string) {
    this.#text = text
  }

  /** Reads to the end, or past the brace that closes a template's expression. */
  readCode(closer: '' | '}'): void {
    let depth = 0
    while (this.#at < this.#text.length) {
      const two = this.#text.slice(this.#at, this.#at + 2)
      const one = two.charAt(0)
      if (two === '//') this.#comment(this.#find('\n'))
      else if (two === '/*') this.#comment(this.#find('*/', 2) + 2)
      else if (one === "'" || one === '"') this.#string(one)
      else if (one === '`') this.#template()
      else if (one === '/' && this.#startsRegex()) this.#regex()
      else {
        if (one === '{') depth++
        if (one === '}' && depth-- === 0 && closer === '}') return
        this.#keep(1)
      }
    }
  }

  #find(end: string, after = 0): number {
    const found = this.#text.indexOf(end, this.#at + after)
    return found === -1 ? this.#text.length : found
  }

  #keep(length: number): void {
    this.code += this.#text.slice(this.#at, this.#at + length)
    this.#at += length
  }

  #blank(to: number): string {
    const part = this.#text.slice(this.#at, to)
    this.code += part.replace(/[^\n]/g, ' ')
    this.#at += part.length
    return part
  }

  #comment(to: number): void {
    this.comments.push(this.#blank(to))
  }

  #string(quote: string): void {
    const start = this.#at
    this.#keep(1)
    let end = this.#at
    while (end < this.#text.length && this.#text.charAt(end) !== quote)
      end += this.#text.charAt(end) === '\\' ? 2 : 1
    this.strings.set(start, this.#blank(end))
    this.#keep(1)
  }

  #template(): void {
    const start = this.#at
    this.#keep(1)
    let text = ''
    while (this.#at < this.#text.length && this.#text.charAt(this.#at) !== '`') {
      if (this.#text.startsWith('${', this.#at)) {
        this.#keep(2)
        this.readCode('}')
        this.#keep(1)
      } else text += this.#blank(this.#at + (this.#text.charAt(this.#at) === '\\' ? 2 : 1))
    }
    this.strings.set(start, text)
    this.#keep(1)
  }

  /** After a value a slash divides; anywhere else it begins a regular expression. */
  #startsRegex(): boolean {
    const before = this.code.trimEnd()
    if (/\b(?:return|typeof|case|in|of|void|await|yield|throw|else|do)$/.test(before)) return true
    return before === '' || !/[\w$)\]}'"`]$/.test(before)
  }

  #regex(): void {
    this.#keep(1)
    let end = this.#at
    for (let inClass = false; end < this.#text.length; end++) {
      const one = this.#text.charAt(end)
      if (one === '\n' || (one === '/' && !inClass)) break
      if (one === '[') inClass = true
      if (one === ']') inClass = false
      if (one === '\\') end++
    }
    this.#blank(end)
    this.#keep(1)
  }
}

/** `import … from 'x'`, `export … from 'x'`, `import 'x'`, `import('x')`. */
function findImports(code: string, strings: ReadonlyMap<number, string>): string[] {
  const imports: string[] = []
  for (const [start, text] of strings) {
    const before = code.slice(Math.max(0, start - 2_000), start)
    if (/\bfrom\s*$|\bimport\s*\(?\s*$/.test(before)) imports.push(text)
  }
  return imports
}
