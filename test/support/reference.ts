import { errorCatalog } from '../../src/core/errors.ts'
import { environmentName, settingNames, settingRows } from '../../src/core/settings.ts'

/** docs/reference/settings.md, from the table of settings. */
export function settingsPage(): string {
  const rows = settingNames().map((name) => {
    const { default: standard, expects, doc } = settingRows[name]
    return `| \`${name}\` | \`${environmentName(name)}\` | ${valueText(standard)} | ${expects} | ${doc} |`
  })
  return `# Settings

Limits and choices of the running system. A setting is given in \`questlog.config.ts\` (\`settings: { bodyBytesMax: 1048576 }\`) or by its
environment variable; the environment wins. A wrong name or value is refused with the rule. \`KiB\`, \`MiB\` and \`GiB\` are not understood:
write plain numbers.

| setting | environment | default | value | what for |
|---|---|---|---|---|
${rows.join('\n')}
`
}

/** docs/reference/errors.md, from the catalog of errors. */
export function errorsPage(): string {
  const rows = Object.entries(errorCatalog).map(
    ([code, { http, kafka, retriable, hint }]) =>
      `| \`${code}\` | ${http} | ${kafka} | ${retriable ? 'yes' : 'no'} | ${escapePipes(hint)} |`,
  )
  return `# Errors

Each error has a code that does not change (the message may), an HTTP status, the code of the Kafka protocol that comes nearest, and what to
do. "Again" says whether the same request may succeed later as it is.

| code | HTTP | Kafka | again | what to do |
|---|---|---|---|---|
${rows.join('\n')}
`
}

function valueText(value: number | string | readonly string[]): string {
  if (typeof value === 'object') return value.length === 0 ? 'none' : value.join(', ')
  return String(value)
}

function escapePipes(text: string): string {
  return text.replaceAll('|', '\\|')
}
