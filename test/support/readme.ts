/** A fenced block of a Markdown page. */
export interface Block {
  readonly language: string
  readonly line: number
  readonly text: string
}

/** A command of a block, and what the page says that it prints; null when the page says nothing. */
export interface Step {
  readonly line: number
  readonly command: string
  readonly output: string | null
}

export function findBlocks(page: string): Block[] {
  const blocks: Block[] = []
  const lines = page.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const language = /^```(\w*)/.exec(lines[at] ?? '')?.[1]
    if (language === undefined) continue
    const start = at + 1
    while (++at < lines.length && lines[at] !== '```');
    blocks.push({ language, line: start, text: lines.slice(start, at).join('\n') })
  }
  return blocks
}

/** The commands of a `bash` block (every line) or of a `console` block (after `$ `, each with its output). A backslash continues a line. */
export function findSteps({ language, line, text }: Block): Step[] {
  const steps: { line: number; command: string; output: string[] | null }[] = []
  let continued = false
  for (const [index, row] of text.split('\n').entries()) {
    const last = steps.at(-1)
    const isCommand = language === 'bash' || row.startsWith('$ ')
    if (continued && last !== undefined) last.command += `\n${row}`
    else if (!isCommand) last?.output?.push(row)
    else if (row.trim() !== '' && !row.startsWith('#'))
      steps.push({
        line: line + index + 1,
        command: language === 'bash' ? row : row.slice(2),
        output: language === 'bash' ? null : [],
      })
    continued = (isCommand || continued) && row.endsWith('\\')
  }
  return steps.map((step) => ({ ...step, output: step.output?.join('\n') ?? null }))
}

/** Figures that differ from run to run, and the widths that follow from them. Everything else must be as the page says. */
export function normalize(output: string): string {
  return output
    .replace(/\b\d+(?:\.\d+)? (?:ms|s|min)\b/g, 'TIME')
    .replace(/\b\d+(?:\.\d+)? (?:B|kB|MB)\b/g, 'SIZE')
    .replace(/^((?:supervisor|ingest|lake) .*?)\d+ +TIME +SIZE$/gm, '$1 PID TIME SIZE')
    .replace(/\bcurl\/[\d.]+/g, 'curl/VERSION')
    .replace(/-{2,}/g, '--')
    .replace(/ +/g, ' ')
    .replace(/ +$/gm, '')
    .trim()
}
