import { join } from 'node:path'
import { chown, mkdir } from 'node:fs/promises'
import { serverUser } from '../../postgres/binaries.ts'
import { findTools, missingTools } from '../../postgres/tools.ts'
import { road, type Fault } from '../fault.ts'
import { relayRole, Server } from '../server.ts'
import { onTools } from '../theatre.ts'

/** Relays run on meanwhile: they meet a database that goes, is not there, is half there, and is another one. */
export const restored: Fault = {
  name: 'restored',
  does: 'the database is dumped at work, its server stopped, and the dump restored into a new cluster',
  attacks: [...road, 'back at once'],
  blows: 1,
  lastsMs: [0, 300],
  backWithinMs: 15_000,
  ground: onTools,
  losesHistory: true,
  losesFences: true,
  // Rights are restored last: until then relays are refused.
  complains: true,
  missing: () => (findTools() === null ? missingTools : null),
  async act(stage) {
    const tools = findTools()
    const user = serverUser()
    const folder = join(stage.directory, 'dump')
    await mkdir(folder)
    if (user !== undefined) await chown(folder, user.uid, user.gid)
    const before = stage.journal.receipts.length
    await tools?.run('pg_dump', '-Fc', '-f', join(folder, 'dump'), '-d', stage.url())
    await stage.server.stop('fast')
    await stage.writers.pause()
    // What was delivered since the dump began goes out again, and of each lane what was in hand.
    stage.allowed += stage.journal.receipts.length - before + stage.plan.lanes * stage.plan.pageSize
  },
  async heal(stage) {
    const tools = findTools()
    const there = stage.leftovers.use(await Server.start(join(stage.directory, 'there'), tools?.home))
    stage.server = there
    const roles = ['postrider_writer', 'postrider_viewer', 'postrider_relay'].map((role) => `create role ${role};`).join(' ')
    await stage.withClient((client) => client.query(`${roles} create role ${relayRole} login in role postrider_relay`))
    for (const way of stage.crew.ways) way.lead(there.port)
    await tools?.run('pg_restore', '--exit-on-error', '-d', stage.url(), join(stage.directory, 'dump', 'dump'))
    stage.writers.goOn()
  },
}
