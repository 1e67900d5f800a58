// Makes one file of each program that `questlog up` starts, with the packages that it uses: loading hundreds of modules took longer than all else of a start.
// Runs after the compiler, on what that has made. What has native code, and what is not needed at every start, stays a package.
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')
const folder = join(dist, 'bundle')

/** Name of the bundle, its program, and modules that it never loads, or only for what is rare. */
const programs = [
  ['supervisor-main', 'app/supervisor-main.js', /\/log\/(?:reader|record)\.js$/],
  ['ingest', 'app/role-main.js', /\/lake-role\.js$/],
  ['lake', 'app/role-main.js', /\/ingest-role\.js$/],
  ['merging-main', 'app/merging-main.js'],
  ['evaluate-child', 'plan/evaluate-child.js', 'lossless-json'],
]
const packages = ['@duckdb/node-bindings', '@node-rs/crc32', 'fs-native-extensions', 'jiti']

// What a package of ours needs can lie where only that package finds it.
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const undeclared = packages.find((name) => !Object.hasOwn(dependencies, name))
if (undeclared !== undefined)
  throw new Error(`${undeclared} stays a package: package.json has to name it`)

rmSync(folder, { recursive: true, force: true })
const bundled = new Set()
for (const [name, program, ...others] of programs) {
  const bundle = await rolldown({
    input: join(dist, program),
    platform: 'node',
    external: [...packages, ...others],
  })
  const file = join(folder, `${name}.cjs`)
  const { output } = await bundle.write({ file, format: 'cjs', codeSplitting: false })
  await bundle.close()
  const [{ code, modules }] = output
  writeFileSync(file, inAscii(code))
  for (const path of Object.keys(modules)) bundled.add(path)
}
writeFileSync(join(folder, 'LICENSES.txt'), licences(bundled))

/** One character outside of Latin-1 makes V8 hold all of a source with two bytes a character. */
function inAscii(code) {
  if (code.includes('String.raw')) throw new Error('String.raw can not hold escapes')
  return code.replaceAll(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The notices of the packages whose code is in the bundles. */
function licences(paths) {
  const folders = new Set(
    [...paths].flatMap((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
  )
  return [...folders]
    .toSorted()
    .map((path) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(path, 'package.json'), 'utf8'),
      )
      const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry))
      const text = file === undefined ? '' : readFileSync(join(path, file), 'utf8')
      return `${name} ${version} (${license})\n\n${text.trim()}\n`
    })
    .join('\n----\n\n')
}
