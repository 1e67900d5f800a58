// Loaded into a process by NODE_OPTIONS: while the file that QUESTLOG_TEST_LOOP_PROBE names can be written, it holds the longest time that
// the event loop of the ingest process was kept busy without a pause, in milliseconds of its own processor time: a loaded machine does not count.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

const path = process.env.QUESTLOG_TEST_LOOP_PROBE
const isIngest = (process.env.QUESTLOG_ROLE ?? '').includes('"role":"ingest"')

if (path !== undefined && isIngest) {
  // Linux: nanoseconds that the main thread has run.
  const busyMs = () => Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ', 1)[0]) / 1e6
  let before = busyMs()
  let longest = 0
  setInterval(() => {
    // Whoever takes the file away lets it begin anew.
    if (!existsSync(path)) longest = 0
    const now = busyMs()
    if (now - before > longest) {
      longest = now - before
      writeFileSync(path, String(longest))
    }
    before = now
  }, 1).unref()
  // What the start takes is not of interest.
  process.on('message', (message) => {
    if (message?.request === 'status') longest = 0
  })
}
