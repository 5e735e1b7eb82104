import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openKeeper, type Keeper } from '../kafka/real/keeper.ts'
import { databaseUrl } from '../postgres/cluster.ts'
import { findTools } from '../postgres/tools.ts'
import { Databases, dropDatabase, prepareDatabase, Server } from './server.ts'

/** Where the database of a run is. */
export interface Place extends AsyncDisposable {
  readonly server: Server
  readonly database: string
}

/** Finds a place for the database of a run. */
export type Ground = (theatre: Theatre, run: string) => Promise<Place>

/** A server that runs share, and what makes databases on it. */
interface Shared {
  readonly server: Server
  readonly databases: Databases
}

/** What outlives a run: a server that runs share, and the keeper of all files and programs, which removes them even when we are killed. */
export class Theatre implements AsyncDisposable {
  readonly keeper: Keeper
  #shared: Promise<Shared> | undefined
  #runs = 0

  private constructor(keeper: Keeper) {
    this.keeper = keeper
  }

  static async open(): Promise<Theatre> {
    const keeper = await openKeeper('postrider-faults')
    await chmod(keeper.directory, 0o755)
    return new Theatre(keeper)
  }

  /** A directory for a run, that servers may enter; removed by whoever asked for it. */
  async newRun(): Promise<{ readonly name: string; readonly directory: string } & AsyncDisposable> {
    const name = `run_${++this.#runs}`
    const directory = join(this.keeper.directory, name)
    await mkdir(directory)
    return { name, directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 10 }) }
  }

  shared(): Promise<Shared> {
    return (this.#shared ??= Server.start(join(this.keeper.directory, 'shared')).then((server) => ({
      server,
      databases: new Databases(server.url),
    })))
  }

  /** Makes room for servers of a run's own: there are never more than two. */
  async closeShared(): Promise<void> {
    const shared = await this.#shared?.catch(() => undefined)
    this.#shared = undefined
    await shared?.server[Symbol.asyncDispose]()
    await rm(join(this.keeper.directory, 'shared'), { recursive: true, force: true, maxRetries: 10 })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeShared()
    await this.keeper[Symbol.asyncDispose]()
  }
}

/** A database of its own on the server that runs share. */
export const onShared: Ground = async (theatre, run) => {
  const { server, databases } = await theatre.shared()
  const url = await databases.create(run)
  return { server, database: run, [Symbol.asyncDispose]: () => dropDatabase(server.url, url) }
}

/** A server of its own, of the version whose programs are installed. */
export const onTools: Ground = async (theatre, run) => {
  const tools = findTools()
  if (tools === null) throw new Error('there are no tools')
  await theatre.closeShared()
  const dataDir = join(theatre.keeper.directory, `${run}-data`)
  const server = await Server.start(dataDir, tools.home)
  await prepareDatabase(databaseUrl(server.url, 'postgres'))
  return {
    server,
    database: 'postgres',
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}
