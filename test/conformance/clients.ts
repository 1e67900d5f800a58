import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { runOrThrow } from '../support/commands.ts'
import { repositoryRoot } from '../support/tidy-source.ts'

/** Where the real clients lie. Installs them if need be, which takes a minute or two the first time. */
export const clientsFolder = execFileSync('bash', ['.ci/clients.sh'], {
  cwd: repositoryRoot,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
}).trim()

/** Python with kafka-python 3, confluent-kafka, PySpark and the readers of examples/readers. */
export const venvPython = join(clientsFolder, 'venv/bin/python')

/** Python with Debian's kafka-python 2.0 and Flask. */
export const debianPython = '/usr/bin/python3'

/** The folders of jars, by what they hold. */
export type JarsName = 'clients-3.4' | 'clients-3.9' | 'kafka-4' | 'spark-kafka' | 'spark-iceberg'

/** A Java class path of all jars of one folder. */
export function classPath(name: JarsName): string {
  return join(clientsFolder, 'jars', name, '*')
}

/** The jar files of one folder. */
export function jarsOf(name: JarsName): string[] {
  const folder = join(clientsFolder, 'jars', name)
  return readdirSync(folder).map((file) => join(folder, file))
}

/** A client script of ours, beside this file. */
export function scriptPath(name: string): string {
  return join(repositoryRoot, 'test/conformance/scripts', name)
}

/** Runs a script that prints one JSON value on a line a check; resolves to them, in order. Throws with its output when it fails. */
export async function runScript(
  program: string,
  script: string,
  words: readonly string[],
  timeoutMs = 600_000,
): Promise<Record<string, unknown>> {
  const path = scriptPath(script)
  const output = await runOrThrow(program, [path, ...words], { cwd: repositoryRoot, timeoutMs })
  return parseResults(output)
}

/** Lines `name<TAB>json` of a script's output, as one object. Other lines are the client's own words. */
export function parseResults(output: string): Record<string, unknown> {
  const results: Record<string, unknown> = {}
  for (const line of output.split('\n')) {
    const found = /^=([\w.-]+)\t(.*)$/.exec(line)
    if (found?.[1] === undefined || found[2] === undefined) continue
    if (found[1] in results) throw new Error(`${found[1]} was printed twice\n${output}`)
    results[found[1]] = JSON.parse(found[2])
  }
  return results
}
