/** Prints a line `=name<TAB>json`. */
export function result(name, value) {
  process.stdout.write(`=${name}\t${JSON.stringify(value)}\n`)
}

/** The name that an error of a call has, or null when there is none. */
export async function errorName(call) {
  try {
    await call()
  } catch (error) {
    return error.type ?? error.errors?.[0]?.apiId ?? error.name
  }
  return null
}

/** Resolves after this time, in which nothing that is not expected should come. */
export function quiet(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Asks until the answer is true; gives up after a minute: nothing takes long, but a slow machine may. */
export async function until(ask) {
  const endMs = performance.now() + 60_000
  while (!(await ask())) {
    if (performance.now() > endMs) throw new Error('waited a minute in vain')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
