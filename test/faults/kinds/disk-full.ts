import { spawnSync } from 'node:child_process'
import { chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { administer } from '../../postgres/cluster.ts'
import { until } from '../../until.ts'
import { serverUser } from '../../postgres/binaries.ts'
import { road, type Fault } from '../fault.ts'
import { dropDatabase } from '../server.ts'
import type { Ground } from '../theatre.ts'

const sizeMb = 64
const ballastMb = 8

/** A file on the small disk of a database that only takes room: to remove tables from a full disk takes some. */
const ballast = new Map<string, string>()

/**
 * The mount is in a namespace of its own, so that it goes with the process that holds it, even when nobody is left to unmount it.
 * The server reaches it through that process.
 */
const hold = (directory: string, { uid, gid }: { uid: number; gid: number }): readonly string[] => [
  '--mount',
  'sh',
  '-c',
  `mount -t tmpfs -o size=${sizeMb}m,uid=${uid},gid=${gid},mode=700 tmpfs "$0" && exec setpriv --reuid=${uid} --regid=${gid} --clear-groups sleep 600`,
  directory,
]

/** A database in a tablespace on a disk so small that it can be filled. */
const onSmallDisk: Ground = async (theatre, run) => {
  const { server, databases } = await theatre.shared()
  const user = serverUser() ?? { uid: 0, gid: 0 }
  const directory = join(theatre.keeper.directory, `${run}-disk`)
  await mkdir(directory)
  await chown(directory, user.uid, user.gid)
  const holder = await theatre.keeper.start('unshare', hold(directory, user), `${directory}.log`)
  const location = `/proc/${holder.pid}/root${directory}`
  const make = (): Promise<void> => administer(server.url, `create tablespace ${run} location '${location}'`)
  // The holder needs a moment, until it is what it will be.
  await until('the small disk is there', () =>
    make().then(
      () => true,
      (error: unknown) => retry(error),
    ),
  )
  const url = await databases.create(run, run)
  const file = `${location}/ballast`
  ballast.set(run, file)
  return {
    server,
    database: run,
    async [Symbol.asyncDispose]() {
      await rm(file, { force: true })
      await dropDatabase(server.url, url)
      await administer(server.url, `drop tablespace ${run}`)
      process.kill(holder.pid, 'SIGKILL')
    },
  }
}

function retry(error: unknown): false {
  if (error instanceof pg.DatabaseError && /^(58P01|42501)$/.test(error.code ?? '')) return false
  throw error
}

export const diskFull: Fault = {
  name: 'disk-full',
  does: 'the disk of the database is full to the last block',
  attacks: [...road, 'back at once'],
  blows: 2,
  lastsMs: [300, 2_000],
  backWithinMs: 8_000,
  ground: onSmallDisk,
  missing() {
    const { status } = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' })
    return process.platform === 'linux' && status === 0 ? null : 'a small disk cannot be mounted here: that takes root on Linux'
  },
  async act(stage) {
    await writeFile(ballast.get(stage.database) ?? '', Buffer.alloc(ballastMb * 1024 * 1024))
    await stage.withClient(async (client) => {
      await client.query('create table if not exists filler (bytes text)')
      await client.query('alter table filler alter bytes set storage plain')
      // Ever smaller pieces, until not even a block can be had.
      for (let rows = 2_000; rows >= 1; rows = Math.floor(rows / 10)) {
        const fill = (): Promise<boolean> =>
          client.query(`insert into filler select repeat('x', 7000) from generate_series(1, ${rows})`).then(
            () => true,
            (error: unknown) => {
              if (error instanceof pg.DatabaseError && error.code === '53100') return false
              throw error
            },
          )
        while (await fill());
      }
    })
  },
  async heal(stage) {
    await rm(ballast.get(stage.database) ?? '', { force: true })
    await stage.withClient((client) => client.query('drop table if exists filler'))
  },
}
