import { InvalidArgumentError, type Command } from 'commander'
import { collect, uuid, withDatabase } from '../options.ts'
import type { EmitFlags } from '../run/emit.ts'

export function addEmit(program: Command): void {
  withDatabase(program.command('emit <type>'))
    .description('write one event, in a transaction of its own, and print its id')
    .option('-d, --data <json>', 'payload as JSON; - reads it from stdin', 'null')
    .option('-k, --key <key>', 'ordering key')
    .option('--source <source>', 'who says so', 'postrider/cli')
    .option('--subject <subject>', 'what it is about')
    .option('--tenant <tenant>', 'whose it is')
    .option('--id <uuid>', 'id of the event (default: a new one)', uuid)
    .option('--deliver-at <time>', 'not before this time, ISO 8601 with its zone')
    .option('-H, --header <name=value>', 'header of the event; may be given several times', collect(header))
    .action(async (type: string, flags: EmitFlags) => (await import('../run/emit.ts')).emit(type, flags))
}

function header(text: string): readonly [string, string] {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? []
  if (name === undefined || value === undefined) throw new InvalidArgumentError('Expected name=value.')
  return [name, value]
}
