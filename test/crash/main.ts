// `npm run test:crash [-- --kills N --seed S]`: docs/internals/testing.md, "Killing things".
import { rename } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { questlog, type Instance } from '../support/instance.ts'
import { seededRandom } from '../support/random.ts'
import { Broken, checkAudit } from './checks.ts'
import { CrashRun, elapsed } from './run.ts'

const killsDefault = 200
/** A data folder lives this long; then a new one begins, so that the tables do not grow beyond what a day of small triggers would make. */
const killsPerFolder = 70

interface Totals {
  kills: number
  answered: number
  sent: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { kills: { type: 'string' }, seed: { type: 'string' } } })
  const kills = Number(values.kills ?? killsDefault)
  const seed = Number(values.seed ?? Math.trunc(Date.now() / 1000))
  if (!(kills >= 1) || !Number.isInteger(seed)) {
    console.error('usage: npm run test:crash -- [--kills N] [--seed S]')
    process.exitCode = 2
    return
  }
  console.log(`seed ${seed}, ${kills} kills`)
  const totals: Totals = { kills: 0, answered: 0, sent: 0 }
  const startMs = performance.now()
  const folders = Math.max(1, Math.round(kills / killsPerFolder))
  try {
    for (let folder = 0; folder < folders; folder++) {
      const share = Math.ceil((kills - totals.kills) / (folders - folder))
      if (share > 0) await playFolder(seed + folder, share, totals)
    }
  } catch (error) {
    console.error(error instanceof Broken ? error.message : error)
    console.error(`FAILED with seed ${seed} after ${totals.kills} kills (${elapsed(startMs)})`)
    process.exitCode = 1
    return
  }
  console.log(
    `kills ${totals.kills}, sent ${totals.sent}, answered ${totals.answered}, lost 0, double 0 (seed ${seed}, ${elapsed(startMs)})`,
  )
}

async function playFolder(seed: number, kills: number, totals: Totals): Promise<void> {
  const run = await CrashRun.start(seededRandom(seed), (line) => console.log(line))
  console.log(`data folder ${run.instance.data}`)
  try {
    await run.play(kills)
    await run.load.stop()
    await checkMovedFile(run.instance, [...run.load.receipts.values()])
    await checkStopped(run.instance)
  } catch (error) {
    await run.load.stop()
    await run.instance.down()
    console.error(`the data folder is kept: ${run.instance.data}`)
    throw error
  } finally {
    totals.kills += run.kills
    totals.answered += run.load.answered
    totals.sent += run.load.sent.size
  }
  await run.end()
}

/** `audit` exits with 1 while a data file is away, and with 0 when it is back. */
async function checkMovedFile(instance: Instance, receipts: readonly string[]): Promise<void> {
  const receipt = receipts.find((candidate) => candidate.startsWith('arena/')) ?? ''
  const { stdout } = await questlog('where', receipt, '--data', instance.data)
  const path = /^table everything: in (.+\.parquet),/m.exec(stdout)?.[1]
  if (path === undefined) throw new Broken(`where ${receipt} names no data file:\n${stdout}`)
  await rename(path, `${path}.away`)
  const { code, stdout: told } = await instance.audit()
  await rename(`${path}.away`, path)
  if (code !== 1 || !told.includes('is missing'))
    throw new Broken(`audit exits with ${code} while a data file is away:\n${told}`)
  await checkAudit(instance)
  console.log('  audit: 1 while a data file is away, 0 when it is back')
}

/** The same count on the stopped folder. */
async function checkStopped(instance: Instance): Promise<void> {
  const { code, stdout, stderr } = await instance.down()
  if (code !== 0) throw new Broken(`down exits with ${code}:\n${stdout}${stderr}`)
  await checkAudit(instance)
  console.log('  audit of the stopped folder: 0')
}

await main()
