import { restoreCertificates } from './certificates.ts'
import { runDetached } from './up.ts'
import type { UpOptions } from './up-options.ts'

// The program of `questlog up -d`: the command starts it with its options in the environment and waits for one message.
const text = process.env['QUESTLOG_UP']
if (text === undefined) {
  process.stderr.write('this program is started by `questlog up -d`\n')
  process.exit(2)
}
delete process.env['QUESTLOG_UP']
restoreCertificates(process.env)
void runDetached(JSON.parse(text) as UpOptions) // written by `questlog up` of the same version
