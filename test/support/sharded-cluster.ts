/** Runs sharded clusters: real config servers and shards behind routers that are doubles of mongos. */
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Document, MongoClient, type MongoClientOptions } from 'mongodb';
import { FAIL_POINTS } from './fail-points.js';
import { mongoUri } from './mongo-uri.js';
import type { MongodRequest } from './mongod-binary.js';
import { ReplicaSet } from './replica-set.js';
import { type ReplicaSetOptions, randomKey } from './replica-set-options.js';
import { RouterProcess } from './router-process.js';
import { startWatchdog, type Watchdog } from './watchdog.js';
import { DeadlineError, eventually, within } from './within.js';

/** What a sharded cluster is started with; every option may be left out. */
export interface ShardedClusterOptions {
  /** Default 2. */
  readonly shards?: number;
  /** Routers side by side, each with a cache of its own. Default 1. */
  readonly routers?: 1 | 2;
  /** Default `'6.0'`. */
  readonly version?: MongodRequest;
  /** Key file between the servers, and a user `root`. Default false. */
  readonly auth?: boolean;
  /** Begins the names of the sets, e.g. `source`. Default none: `cfg`, `s0`, `s1`, … */
  readonly name?: string;
  /** How long routers wait for a shard without a primary, in ms. Default: the double not at all, a mongos 15 s. */
  readonly hostWaitMs?: number;
  /** Given to the shards' servers as `--setParameter`, beside those that make tests quick. */
  readonly setParameters?: Readonly<Record<string, string>>;
  /** Ends the start; what was started by then is removed. */
  readonly signal?: AbortSignal | undefined;
}

/** A document that lies in the chunk meant, and where the chunk shall go. */
export interface ChunkMove {
  readonly ns: string;
  readonly find: Document;
  /** Index of the shard. */
  readonly to: number;
}

const CACHE_GB = 0.25;
const READY_MS = 60_000;
const CLOSE_MS = 3_000;
const MOVE_TRIES = 60;
const MOVE_PAUSE_MS = 500;
/** After a restart of the config servers, or while the last range waits to be deleted. */
const PASSING_MOVE_ERRORS: readonly unknown[] = [96, 117, 194];

/** The shards' own waits, shortened; and the switch for the server's fail points. */
const SHARD_PARAMETERS = { ...FAIL_POINTS, orphanCleanupDelaySecs: '1' };
/** A reshard lasts five minutes at least by default. */
const CONFIG_PARAMETERS = { ...FAIL_POINTS, reshardingMinimumOperationDurationMillis: '500' };

/**
 * A sharded cluster on 127.0.0.1: a config server and shards, sets of one real server each, and one or two routers.
 *
 * All of it is gone after {@link remove}, and also when this process ends or is killed before that.
 */
export class ShardedCluster implements AsyncDisposable {
  readonly config: ReplicaSet;
  readonly #shards: ReplicaSet[];
  readonly routers: readonly RouterProcess[];
  readonly #options: ShardedClusterOptions;
  readonly #key: string | undefined;
  readonly #folder: string;
  readonly #watchdog: Watchdog;
  readonly #clients = new Set<MongoClient>();
  #removal: Promise<void> | undefined;

  private constructor(made: {
    readonly options: ShardedClusterOptions;
    readonly key: string | undefined;
    readonly sets: readonly [ReplicaSet, ...ReplicaSet[]];
    readonly routers: readonly RouterProcess[];
    readonly folder: string;
    readonly watchdog: Watchdog;
  }) {
    const [config, ...shards] = made.sets;
    this.config = config;
    this.#shards = shards;
    this.#options = made.options;
    this.#key = made.key;
    this.routers = made.routers;
    this.#folder = made.folder;
    this.#watchdog = made.watchdog;
  }

  /**
   * Starts servers and routers, and adds the shards. The balancer is left as it is: on.
   *
   * Errors: as {@link ReplicaSet.start}; RouterStartError. Then nothing is left.
   */
  static async start(options: ShardedClusterOptions = {}): Promise<ShardedCluster> {
    const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-routers-'));
    const watchdog = startWatchdog(folder);
    const key = options.auth ? randomKey() : undefined;
    const sets: ReplicaSet[] = [];
    const routers: RouterProcess[] = [];
    try {
      sets.push(...(await startSets(options, key)));
      const [config] = sets as [ReplicaSet];
      const keyFile = key === undefined ? undefined : path.join(folder, 'key');
      if (keyFile !== undefined && key !== undefined) await writeFile(keyFile, key, { mode: 0o600 });
      const configdb = `${config.name}/${config.hosts[0]}`;
      for (let index = 0; index < (options.routers ?? 1); index += 1) {
        const { hostWaitMs } = options;
        routers.push(await RouterProcess.start({ folder, name: `router${index}`, configdb, keyFile, hostWaitMs }));
      }
      const made = { options, key, sets: sets as [ReplicaSet, ...ReplicaSet[]], routers, folder, watchdog };
      const cluster = new ShardedCluster(made);
      for (const shard of cluster.shards) await cluster.#register(shard);
      return cluster;
    } catch (error) {
      await Promise.allSettled([...routers.map((router) => router.kill()), ...sets.map((set) => set.remove())]);
      watchdog.release();
      throw error;
    }
  }

  /** Those of the start, and those that were added since. */
  get shards(): readonly ReplicaSet[] {
    return this.#shards;
  }

  /** Connection string of all routers, with credentials where they are on. */
  get uri(): string {
    return this.#uriOf(this.routers);
  }

  /** Connection string of one router. */
  routerUri(index = 0): string {
    return this.#uriOf([at(this.routers, index, 'router')]);
  }

  /** Version of the servers, e.g. `6.0.5`. */
  get version(): string {
    return this.config.version;
  }

  /** The root user's name; undefined without `auth`. */
  get username(): string | undefined {
    return this.config.username;
  }

  /** The root user's password; undefined without `auth`. */
  get password(): string | undefined {
    return this.config.password;
  }

  /** Name of a shard in the cluster's catalog. */
  shardName(index: number): string {
    return at(this.shards, index, 'shard').name;
  }

  /** Connects a client to all routers, or to one; closed on {@link remove}. */
  async client(options: MongoClientOptions & { readonly router?: number } = {}): Promise<MongoClient> {
    const { router, ...own } = options;
    return await this.#connect(router === undefined ? this.uri : this.routerUri(router), own);
  }

  /** Connects a client to a shard, past the routers: it sees orphans, and only this shard's part. */
  async shardClient(index: number, options: MongoClientOptions = {}): Promise<MongoClient> {
    return await this.#connect(at(this.shards, index, 'shard').uri, options);
  }

  /** Connects a client to the config server. */
  async configClient(options: MongoClientOptions = {}): Promise<MongoClient> {
    return await this.#connect(this.config.uri, options);
  }

  /** Runs a command on the database `admin` through the first router. */
  async admin(command: Document): Promise<Document> {
    // Closed at once: a client kept here would keep a process from ending that forgot its cluster.
    await using client = new MongoClient(this.routerUri());
    return await client.db('admin').command(command);
  }

  /** Splits at a key, e.g. `{a: 100}`. */
  async split(ns: string, middle: Document): Promise<void> {
    await this.admin({ split: ns, middle });
  }

  /** Moves the chunk of a document. Waits out that the range is still being deleted from an earlier move. */
  async moveChunk({ ns, find, to }: ChunkMove): Promise<void> {
    const move = async () => {
      try {
        await this.admin({ moveChunk: ns, find, to: this.shardName(to) });
        return true;
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : undefined;
        if (PASSING_MOVE_ERRORS.includes(code)) return false;
        throw error;
      }
    };
    // Not by `eventually`, which would wait upon any other error, too.
    for (let tries = 1; !(await move()); tries += 1) {
      if (tries === MOVE_TRIES) throw new DeadlineError(`a chunk of ${ns} does not move`);
      await sleep(MOVE_PAUSE_MS);
    }
  }

  /** Gives a database another primary shard. */
  async movePrimary(db: string, to: number): Promise<void> {
    await this.admin({ movePrimary: db, to: this.shardName(to) });
  }

  /** Has all shards keep what they should delete after chunk moves, until {@link releaseOrphans}. */
  async keepOrphans(): Promise<void> {
    await this.#onShards({ configureFailPoint: 'suspendRangeDeletion', mode: 'alwaysOn' });
  }

  /** Ends {@link keepOrphans}. */
  async releaseOrphans(): Promise<void> {
    await this.#onShards({ configureFailPoint: 'suspendRangeDeletion', mode: 'off' });
  }

  /** Starts another shard and adds it; resolves with its index. Errors: as {@link start}. */
  async addShard(): Promise<number> {
    const index = this.#shards.length;
    const shard = await ReplicaSet.start(shardOptions(this.#options, this.#key, index));
    this.#shards.push(shard);
    await this.#register(shard);
    return index;
  }

  /** Kills a shard's server, as a crash would. */
  async stopShard(index: number): Promise<void> {
    await at(this.shards, index, 'shard').kill();
  }

  /** Starts a shard's server again and waits for it to be primary. */
  async startShard(index: number): Promise<void> {
    await at(this.shards, index, 'shard').restart();
  }

  /** Kills a router: its connections are cut, its cursors and all that it knew of chunks are gone. */
  async stopRouter(index = 0): Promise<void> {
    await at(this.routers, index, 'router').kill();
  }

  /** Starts a router again, on its port. */
  async startRouter(index = 0): Promise<void> {
    await at(this.routers, index, 'router').run();
  }

  /** Kills the servers and routers, closes the clients and deletes the folders. May be called again. */
  async remove(): Promise<void> {
    this.#removal ??= this.#remove();
    await this.#removal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async #connect(uri: string, options: MongoClientOptions): Promise<MongoClient> {
    const client = new MongoClient(uri, options);
    this.#clients.add(client);
    return await client.connect();
  }

  async #onShards(command: Document): Promise<void> {
    for (const { uri } of this.shards) {
      await using client = new MongoClient(uri);
      await client.db('admin').command(command);
    }
  }

  async #register({ name, hosts }: ReplicaSet): Promise<void> {
    const add = () => this.admin({ addShard: `${name}/${hosts[0]}`, name });
    await eventually(READY_MS, add, `adding the shard ${name}`, { everyMs: 200 });
  }

  #uriOf(routers: readonly RouterProcess[]): string {
    const { username, password } = this;
    const credentials = username === undefined || password === undefined ? undefined : { username, password };
    return mongoUri(
      routers.map(({ host }) => host),
      {},
      { credentials, tls: undefined },
    );
  }

  async #remove(): Promise<void> {
    try {
      const closes = Promise.allSettled([...this.#clients].map((client) => client.close()));
      await within(CLOSE_MS, closes, 'closing the clients of a sharded cluster').catch(ignoreDeadline);
      await Promise.all(this.routers.map((router) => router.kill()));
      await Promise.all([this.config, ...this.shards].map((set) => set.remove()));
      await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    } finally {
      this.#watchdog.release();
    }
  }
}

/** As {@link ShardedCluster.start}. */
export async function startShardedCluster(options: ShardedClusterOptions = {}): Promise<ShardedCluster> {
  return await ShardedCluster.start(options);
}

/** The config server's set and the shards', all or none. */
async function startSets(options: ShardedClusterOptions, key: string | undefined): Promise<ReplicaSet[]> {
  const wanted = [configOptions(options, key)];
  for (let index = 0; index < (options.shards ?? 2); index += 1) wanted.push(shardOptions(options, key, index));
  const starts = await Promise.allSettled(wanted.map((each) => ReplicaSet.start(each)));
  const started = starts.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  const failed = starts.find((each) => each.status === 'rejected');
  if (failed === undefined) return started;
  await Promise.all(started.map((set) => set.remove()));
  throw failed.reason;
}

function commonOptions({ version, auth, signal }: ShardedClusterOptions, key: string | undefined): ReplicaSetOptions {
  const access = key === undefined ? {} : { key };
  return { cacheSizeGB: CACHE_GB, signal, ...(version && { version }), ...(auth && { auth }), ...access };
}

function configOptions(options: ShardedClusterOptions, key: string | undefined): ReplicaSetOptions {
  const name = `${options.name ?? ''}cfg`;
  return { ...commonOptions(options, key), name, clusterRole: 'configsvr', setParameters: CONFIG_PARAMETERS };
}

function shardOptions(options: ShardedClusterOptions, key: string | undefined, index: number): ReplicaSetOptions {
  const name = `${options.name ?? ''}s${index}`;
  const setParameters = { ...SHARD_PARAMETERS, ...options.setParameters };
  return { ...commonOptions(options, key), name, clusterRole: 'shardsvr', setParameters };
}

function at<T>(items: readonly T[], index: number, what: string): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`the cluster has no ${what} ${index}`);
  return item;
}

function ignoreDeadline(error: unknown): void {
  if (!(error instanceof DeadlineError)) throw error;
}
