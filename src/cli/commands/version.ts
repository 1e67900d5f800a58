import { defineCommand } from 'citty'
import { exitCodes, printLine } from '../output.ts'
import { readVersion } from '../version.ts'

export const versionCommand = defineCommand({
  run() {
    printLine(`questlog ${readVersion()}`)
    return exitCodes.ok
  },
})
