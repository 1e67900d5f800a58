// Makes a checkout ready to run: installs what the lockfile says if nothing is installed, compiles src to dist if something is newer. Quiet when
// there is nothing to do, safe when two of them run at once. Uses nothing but Node, since nothing may be installed yet.
import { spawn } from 'node:child_process'
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stamp = join(root, 'dist', '.built')
const lockfile = join(root, 'package-lock.json')
const installed = join(root, 'node_modules', '.package-lock.json')
// Not in dist: that may be deleted while one waits.
const lockName = `questlog-prepare-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`
const lock = join(tmpdir(), lockName)

export async function prepare() {
  if (isReady()) return
  await whileHolding(lock, async () => {
    // The one that held the lock before may have done it all.
    if (isReady()) return
    if (!isInstalled()) await install()
    if (!isBuilt()) await build()
  })
}

function isReady() {
  return isInstalled() && isBuilt()
}

/** Whether node_modules holds what the lockfile says. npm writes down what it installed; the two are compared when the lockfile is newer. */
function isInstalled() {
  const installedAt = timeOf(installed)
  if (installedAt === undefined) return false
  if ((timeOf(lockfile) ?? 0) <= installedAt) return true
  const wanted = packagesOf(lockfile)
  const there = packagesOf(installed)
  return Object.entries(wanted).every(
    ([path, entry]) => path === '' || entry.optional || there[path]?.version === entry.version,
  )
}

function packagesOf(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages ?? {}
}

/** Whether the last complete build is newer than everything that went into it. */
function isBuilt() {
  const builtAt = timeOf(stamp)
  if (builtAt === undefined) return false
  const inputs = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'bin/bundle.mjs']
  return (
    newest(join(root, 'src')) < builtAt &&
    inputs.every((name) => (timeOf(join(root, name)) ?? 0) < builtAt)
  )
}

/** The time of the newest file or folder below; a folder's time tells of deleted files. */
function newest(folder) {
  let time = timeOf(folder) ?? 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    time = Math.max(time, entry.isDirectory() ? newest(path) : (timeOf(path) ?? 0))
  }
  return time
}

function timeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}

async function install() {
  say('questlog: installing its packages from package-lock.json (about 235 MB, once) …')
  await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
}

async function build() {
  say('questlog: compiling …')
  const startedAt = new Date()
  rmSync(stamp, { force: true })
  await run(process.execPath, [typescript(), '-p', join(root, 'tsconfig.build.json')])
  await run(process.execPath, [join(root, 'bin', 'bundle.mjs')])
  closeSync(openSync(stamp, 'w'))
  // What is saved while the compiler runs is newer than the stamp.
  utimesSync(stamp, startedAt, startedAt)
}

function typescript() {
  const { bin } = JSON.parse(
    readFileSync(join(root, 'node_modules', 'typescript', 'package.json'), 'utf8'),
  )
  return join(root, 'node_modules', 'typescript', bin.tsc)
}

/** Standard output belongs to the command that runs afterwards. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${command} ended with ${signal ?? `exit code ${code}`}`))
    })
  })
}

/** A lock file; one whose holder is gone is taken over. */
async function whileHolding(path, work) {
  for (;;) {
    try {
      const fd = openSync(path, 'wx')
      closeSync(fd)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (isAbandoned(path)) rmSync(path, { force: true })
      else await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const alive = setInterval(() => touch(path), 1_000)
  try {
    await work()
  } finally {
    clearInterval(alive)
    rmSync(path, { force: true })
  }
}

/** The holder touches it every second. */
function isAbandoned(path) {
  const time = timeOf(path)
  return time !== undefined && Date.now() - time > 15_000
}

function touch(path) {
  const now = new Date()
  try {
    utimesSync(path, now, now)
  } catch {
    // Someone took it away; the work goes on.
  }
}

function say(line) {
  process.stderr.write(`${line}\n`)
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await prepare()
  } catch (error) {
    say(`questlog: ${error.message}`)
    process.exit(1)
  }
}
