import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import { repositoryRoot, type SourceFile, type TextFile } from './tidy-source.ts'

export interface Link {
  readonly path: string
  readonly line: number
  readonly target: string
}

/** Links of a Markdown page to other places of the repository; those inside code are text. */
export function findLinks({ path, text }: TextFile): Link[] {
  const links: Link[] = []
  let fence = ''
  for (const [index, line] of text.split('\n').entries()) {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1]
    if (mark !== undefined && (fence === '' || mark.startsWith(fence)))
      fence = fence === '' ? mark : ''
    if (fence !== '' || mark !== undefined) continue
    const prose = line.replace(/(`+)[^`].*?\1/g, '')
    for (const [, target = ''] of prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) {
      if (!/^[a-z][a-z+.-]*:/i.test(target)) links.push({ path, line: index + 1, target })
    }
  }
  return links
}

/** Anchors as GitHub makes them: lower case, no punctuation, a dash for each space. */
export function findAnchors(text: string): Set<string> {
  const seen = new Map<string, number>()
  const anchors = new Set<string>()
  for (const [, heading = ''] of text
    .replace(/^(`{3,})[^]*?^\1/gm, '')
    .matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const slug = plain.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-')
    const times = seen.get(slug) ?? 0
    seen.set(slug, times + 1)
    anchors.add(times === 0 ? slug : `${slug}-${times}`)
  }
  return anchors
}

/** Links that lead nowhere: no such file, or no such heading in it. */
export function checkLinks(pages: readonly TextFile[]): string[] {
  const texts = new Map(pages.map(({ path, text }) => [path, text]))
  return pages.flatMap(findLinks).flatMap(({ path, line, target }) => {
    const [file = '', anchor] = target.split('#')
    const to = file === '' ? path : join(dirname(path), decodeURIComponent(file))
    const problem = to.startsWith('..') ? 'leads out of the repository' : deadEnd(to, anchor, texts)
    return problem === undefined ? [] : [`${path}:${line}: ${target}: ${problem}`]
  })
}

function deadEnd(
  to: string,
  anchor: string | undefined,
  texts: ReadonlyMap<string, string>,
): string | undefined {
  const text = texts.get(to)
  if (text === undefined && !existsSync(join(repositoryRoot, to))) return 'there is no such file'
  if (anchor === undefined || anchor === '') return undefined
  if (text === undefined)
    return statSync(join(repositoryRoot, to)).isFile() ? undefined : 'a folder has no headings'
  return findAnchors(text).has(anchor) ? undefined : 'there is no such heading'
}

/** Pages that comments and hints of the source name, and that do not exist. */
export function checkNamedPages(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) =>
    [...text.matchAll(/(?<![\w/])docs\/[\w/.-]+\.md\b/g)]
      .filter(([page]) => !existsSync(join(repositoryRoot, page)))
      .map(([page]) => `${path}: names ${page}, which does not exist`),
  )
}

/** A file that questlog writes and reads again: who writes it, and the page and heading that describe it. */
export interface DiskFormat {
  readonly what: string
  readonly source: string
  readonly page: string
  readonly heading: RegExp
}

/** Pages that lack the description of a format, and sources with a format that no row of `formats` names. */
export function checkFormats(
  formats: readonly DiskFormat[],
  files: readonly SourceFile[],
  pages: readonly TextFile[],
): string[] {
  const undescribed = formats.flatMap(({ what, source, page, heading }) => {
    const problems: string[] = []
    if (!files.some(({ path }) => path === source)) problems.push(`${what}: there is no ${source}`)
    const text = pages.find(({ path }) => path === page)?.text
    if (text === undefined) problems.push(`${what}: there is no page ${page}`)
    else if (![...text.matchAll(/^#{1,6}\s+(.+)$/gm)].some(([, title = '']) => heading.test(title)))
      problems.push(`${what}: ${page} has no heading like ${heading.source}`)
    return problems
  })
  const sources = new Set(formats.map(({ source }) => source))
  const unlisted = files.filter(({ path, code }) => declaresFormat(code) && !sources.has(path))
  return [
    ...undescribed,
    ...unlisted.map(({ path }) => `${path}: declares a format that is not in the table of formats`),
  ]
}

/** Whether code declares the magic bytes or the version of a file. */
function declaresFormat(code: string): boolean {
  return /\bconst\s+(?:magic|magicText|currentMagic|currentVersion|formatVersion)\b/.test(code)
}

/**
 * The file map of a page: below the heading of each folder, the names in backticks in the first lines of code of its tables. Gives files that
 * the map lacks and names that are no files; a `*` stands for any name.
 */
export function checkFileMap(page: TextFile, paths: readonly string[]): string[] {
  const patterns: string[] = []
  let folder = ''
  for (const line of page.text.split('\n')) {
    const heading = /^#+ (.+)$/.exec(line)?.[1]
    if (heading !== undefined) folder = heading
    if (line.startsWith('| `'))
      for (const [, name = ''] of line.matchAll(/`([\w*./-]+\.ts)`/g))
        patterns.push(`src/${folder}/${name}`)
  }
  const matches = (pattern: string, path: string) =>
    new RegExp(
      `^${pattern
        .split('*')
        .map((part) => part.replace(/[.]/g, '\\.'))
        .join('[^/]*')}$`,
    ).test(path)
  const inFolders = paths.filter((path) => path.split('/').length > 2)
  return [
    ...inFolders
      .filter((path) => !patterns.some((pattern) => matches(pattern, path)))
      .map((path) => `${path} is not in the file map of ${page.path}`),
    ...patterns
      .filter((pattern) => !inFolders.some((path) => matches(pattern, path)))
      .map((pattern) => `${page.path} lists ${pattern}, which does not exist`),
  ]
}

/** Names of code in backticks on a page, such as `Partition.append` and `#publish`, that no source declares. */
export function checkNames(page: TextFile, files: readonly SourceFile[]): string[] {
  const words = new Set(files.flatMap(({ code }) => code.match(/#?[A-Za-z_]\w*/g) ?? []))
  const names = [
    ...page.text.replace(/^```[^]*?^```/gm, '').matchAll(/`(#?[A-Za-z]\w*(?:\.#?[A-Za-z]\w*)?)`/g),
  ].map(([, name = '']) => name)
  return [...new Set(names)]
    .filter((name) => /^[A-Z]\w*\.|^#|^[a-z]\w*[A-Z]\w*$/.test(name))
    .filter((name) => !name.split('.').every((part) => words.has(part)))
    .map((name) => `${page.path} names ${name}, which is not in src`)
}
