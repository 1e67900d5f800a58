import { runRole } from './role.ts'
import type { RoleArguments } from './roles.ts'

// The program of a child process: `supervisor.ts` starts it with its arguments in the environment.
const text = process.env['QUESTLOG_ROLE']
if (text === undefined) {
  process.stderr.write('this program is started by `questlog up`\n')
  process.exit(2)
}
void runRole(JSON.parse(text) as RoleArguments) // written by the supervisor of the same version
