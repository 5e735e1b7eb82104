import type { Command } from 'commander'
import { addAssess } from './graduate/assess.ts'
import { addCutover } from './graduate/cutover.ts'
import { addDebeziumConfig } from './graduate/debezium-config.ts'
import { addFinish } from './graduate/finish.ts'
import { addPlan } from './graduate/plan.ts'
import { addRepair } from './graduate/repair.ts'
import { addRollback } from './graduate/rollback.ts'
import { addStatus } from './graduate/status.ts'
import { addVerify } from './graduate/verify.ts'

export function addGraduate(program: Command): void {
  const command = program.command('graduate').description('the way of consumers from webhooks to Kafka, and back')
  for (const add of [addAssess, addPlan, addStatus, addVerify, addRepair, addCutover, addRollback, addFinish, addDebeziumConfig])
    add(command)
}
