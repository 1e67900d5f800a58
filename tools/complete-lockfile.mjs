// Adds to package-lock.json the packages for other platforms that npm left out: npm writes down only those that it could reach, and
// `npm ci` then refuses the file. Run it after every `npm install`. Without an argument it writes, with --check it only tells.
import { readFileSync, writeFileSync } from 'node:fs'

const path = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(path, 'utf8'))
const missing = Object.entries(lock.packages).flatMap(([parent, { optionalDependencies = {} }]) =>
  Object.entries(optionalDependencies)
    .filter(([name]) => !isLocked(parent, name))
    .map(([name, version]) => ({ name, version })),
)

if (process.argv.includes('--check')) {
  for (const { name, version } of missing)
    console.error(`package-lock.json lacks ${name}@${version}`)
  process.exitCode = missing.length === 0 ? 0 : 1
} else if (missing.length > 0) {
  for (const { name, version } of missing) {
    if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))
      throw new Error(`${name}: the version ${version} is not exact`)
    lock.packages[`node_modules/${name}`] = { version, ...platformOf(name), optional: true }
  }
  const sorted = Object.entries(lock.packages).sort(([one], [other]) =>
    one.localeCompare(other, 'en'),
  )
  writeFileSync(
    path,
    `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`,
  )
  console.log(`package-lock.json: added ${missing.length} packages of other platforms`)
}

/** A package uses its own copy, or the one of the nearest folder above. */
function isLocked(parent, name) {
  const folders = `/${parent}`.split('/node_modules/')
  return folders.some(
    (_, depth) =>
      `${folders.slice(0, depth + 1).join('/node_modules/')}/node_modules/${name}`.slice(1) in
      lock.packages,
  )
}

/** `@oxlint/binding-linux-arm64-musl` says where it runs: npm installs it there and nowhere else. */
function platformOf(name) {
  const words = name.split(/[/-]/)
  const os = words.find((word) =>
    ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'sunos', 'win32'].includes(
      word,
    ),
  )
  const cpu = words.find((word) =>
    [
      'arm',
      'arm64',
      'ia32',
      'loong64',
      'mips64el',
      'ppc64',
      'riscv64',
      's390x',
      'wasm32',
      'x64',
    ].includes(word),
  )
  if (os === undefined || cpu === undefined)
    throw new Error(`${name} does not say for which platform it is`)
  const libc = words.some((word) => word.startsWith('musl'))
    ? 'musl'
    : words.some((word) => word.startsWith('gnu'))
      ? 'glibc'
      : undefined
  return { cpu: [cpu], ...(libc === undefined ? {} : { libc: [libc] }), os: [os] }
}
