// Adds up the JSON reports of vitest that the arguments name. The last line is `N passed, N failed`; fails when a test failed, did not run,
// or when there is no report.
import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

const total = { passed: 0, failed: 0, left: 0 }
for (const path of process.argv.slice(2)) {
  const counts = existsSync(path)
    ? count(JSON.parse(readFileSync(path, 'utf8')))
    : { passed: 0, failed: 1, left: 0 }
  const left = counts.left === 0 ? '' : `, ${counts.left} did not run`
  console.log(`${basename(path, '.json')}: ${counts.passed} passed, ${counts.failed} failed${left}`)
  for (const name of Object.keys(total)) total[name] += counts[name]
}
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1

function count({ testResults }) {
  const counts = { passed: 0, failed: 0, left: 0 }
  for (const { status, assertionResults } of testResults) {
    for (const result of assertionResults) {
      if (result.status === 'passed') counts.passed++
      else if (result.status === 'failed') counts.failed++
      else counts.left++
    }
    // A file that could not be loaded has failed without a test of its own.
    if (status === 'failed' && !assertionResults.some((result) => result.status === 'failed'))
      counts.failed++
  }
  return counts
}
