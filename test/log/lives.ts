import type { Random } from '../support/random.ts'
import type { SimulatedFiles } from '../support/simulated-files.ts'

/** A seeded history of a log on a simulated disk. */
export interface Life {
  readonly files: SimulatedFiles
  readonly random: Random
  /** Whether the disk may fail. */
  isFaulty: boolean
  /** Opens the log, does things, and brings it down. */
  run(): Promise<void>
  /** Throws when a promise is broken. */
  check(): Promise<void>
}

/** Lets a log live and checks it a few times, on a disk that fails now and then if asked to. An error says which history it was. */
export async function live(life: Life, name: string, faults: boolean): Promise<void> {
  try {
    const runs = 1 + life.random.below(4)
    for (let run = 0; run < runs; run++) {
      if (faults) injectFaults(life)
      await life.run()
      life.files.fault = () => undefined
      await life.check()
    }
  } catch (error) {
    throw new Error(`${name} breaks a promise`, { cause: error })
  }
}

function injectFaults(life: Life): void {
  const { files, random } = life
  life.isFaulty = true
  const probability = random.pick([0, 0.01, 0.05])
  files.fault = (operation) => {
    if (!random.chance(probability)) return undefined
    if (operation === 'append' || operation === 'create') return random.pick(['ENOSPC', 'EIO'])
    return operation === 'sync' || operation === 'syncFolder' ? 'EIO' : undefined
  }
}
