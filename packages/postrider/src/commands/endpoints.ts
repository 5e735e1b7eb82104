import type { Command } from 'commander'
import { addAdd } from './endpoints/add.ts'
import { addChange } from './endpoints/change.ts'
import { addDisable } from './endpoints/disable.ts'
import { addEnable } from './endpoints/enable.ts'
import { addList } from './endpoints/list.ts'
import { addPing } from './endpoints/ping.ts'
import { addRemove } from './endpoints/remove.ts'
import { addReseal } from './endpoints/reseal.ts'
import { addRotateSecret } from './endpoints/rotate-secret.ts'
import { addShow } from './endpoints/show.ts'

export function addEndpoints(program: Command): void {
  const command = program.command('endpoints').description('destinations of a sink that has many')
  for (const add of [addAdd, addList, addShow, addChange, addPing, addRotateSecret, addEnable, addDisable, addRemove, addReseal])
    add(command)
}
