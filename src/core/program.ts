import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * The path of a program of ours that is to run in a process of its own: `name`.js beside the module at the URL `from`, or what the build has made of it, one file with
 * all that it needs, which is loaded in a third of the time: `bundle`.cjs.
 */
export function programPath(name: string, from: string, bundle = name): string {
  const bundled = fileURLToPath(new URL(`../bundle/${bundle}.cjs`, from))
  return existsSync(bundled) ? bundled : fileURLToPath(new URL(`./${name}.js`, from))
}
