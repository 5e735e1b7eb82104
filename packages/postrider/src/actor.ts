import { userInfo } from 'node:os'
import type { Command } from 'commander'

/** `--actor`. */
export function withActor(command: Command): Command {
  return command.option('--actor <name>', 'who does this, for the record (default: POSTRIDER_ACTOR, or the user of this system)')
}

/** Who acts, for the record: `--actor`, else POSTRIDER_ACTOR, else the user of the operating system. */
export function actorOf({ actor }: { readonly actor?: string }): string {
  return actor ?? process.env['POSTRIDER_ACTOR'] ?? systemUser()
}

function systemUser(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? '?'}` // a user without an entry, as in containers
  }
}
