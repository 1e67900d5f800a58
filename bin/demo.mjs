// `npm run demo`: makes the checkout ready (installs and compiles when needed), then runs the demo of dist/cli/demo.js.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`questlog needs Node 20.19 or newer; this is ${process.versions.node}\n`)
  process.exit(1)
}
try {
  const { prepare } = await import('./prepare.mjs')
  await prepare()
  const { runDemo } = await import('../dist/cli/demo.js')
  process.exitCode = await runDemo(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`questlog: ${error.message}\n`)
  process.exitCode = 1
}
