import { exitCodeOf, exitCodes } from './exit.ts'
import { sayError } from './print.ts'
import { createProgram } from './program.ts'

// A reader that has seen enough (`postrider dead list | head`) is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(exitCodes.ok)
})

try {
  await createProgram().parseAsync()
} catch (error) {
  sayError(error)
  process.exitCode = exitCodeOf(error)
}
