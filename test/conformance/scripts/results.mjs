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

/** Asks until the answer is true; gives up after 20 s. */
export async function until(ask) {
  const endMs = performance.now() + 20_000
  while (!(await ask())) {
    if (performance.now() > endMs) throw new Error('waited 20 s in vain')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
