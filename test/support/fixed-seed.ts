import * as fc from 'fast-check'

// Loaded before every file of tests: properties are tried on the same cases each time, so that a change is taken or not for what it does. QUESTLOG_SEED=N tries others.
fc.configureGlobal({ seed: Number(process.env['QUESTLOG_SEED'] ?? 20180726) })
