/** The router's cache of the cluster's catalog: shards, databases and the chunks of sharded collections. */
import { type Backend, CONFIG, MAJORITY } from './backend.js';
import { doc, documentsOf, type Fields, fieldsOf, isTrue, type Part, type RawValue, textOf } from './raw-values.js';
import { RoutingTable } from './routing-table.js';

/** Where a database's unsharded collections are, and the version to tell that shard. */
export interface DatabaseEntry {
  readonly primary: string;
  readonly version: RawValue;
}

/** Databases that are the config servers' own and have no primary shard. */
export function isConfigDatabase(db: string): boolean {
  return db === 'admin' || db === 'config';
}

/** The database of a namespace. */
export function databaseOf(ns: string): string {
  return ns.slice(0, ns.indexOf('.'));
}

/** The collection of a namespace. */
export function collectionOf(ns: string): string {
  return ns.slice(ns.indexOf('.') + 1);
}

/** Reads from the config servers what it does not know yet, and keeps it until a shard says that it is stale. */
export class Catalog {
  readonly #backend: Backend;
  readonly #databases = new Map<string, DatabaseEntry>();
  /** False: known not to be sharded. */
  readonly #collections = new Map<string, RoutingTable | false>();
  #topologyTimes: ReadonlyMap<string, RawValue> = new Map();

  constructor(backend: Backend) {
    this.#backend = backend;
    backend.onUnknownShard(() => this.loadShards());
  }

  /** All documents of a collection of `config`. */
  async find(collection: string, filter: Part = {}): Promise<Buffer[]> {
    const find = doc({ find: collection, filter, readConcern: { level: 'majority' }, batchSize: 1_000_000 });
    let answer = await this.#backend.callOk({ shard: CONFIG, db: 'config', body: find });
    const found: Buffer[] = [];
    for (let batch = 'firstBatch'; ; batch = 'nextBatch') {
      const cursor = fieldsOf(answer.get('cursor')?.bytes ?? Buffer.alloc(5));
      found.push(...documentsOf(cursor.get(batch)));
      const id = cursor.get('id');
      if (!isTrue(id)) return found;
      answer = await this.#backend.callOk({ shard: CONFIG, db: 'config', body: doc({ getMore: id, collection }) });
    }
  }

  /** Reads the list of shards anew. */
  async loadShards(): Promise<void> {
    const hosts = new Map<string, string>();
    const times = new Map<string, RawValue>();
    for (const raw of await this.find('shards')) {
      const shard = fieldsOf(raw);
      const name = textOf(shard.get('_id')) ?? '';
      // The first member of a set only: sets of one are all that the double is for.
      hosts.set(name, (textOf(shard.get('host')) ?? '').split('/').at(-1)?.split(',')[0] ?? '');
      const time = shard.get('topologyTime');
      if (time !== undefined) times.set(name, time);
    }
    this.#topologyTimes = times;
    this.#backend.setHosts(hosts);
  }

  /** When a shard was added; undefined if that is not known. */
  topologyTime(shard: string): RawValue | undefined {
    return this.#topologyTimes.get(shard);
  }

  /** Undefined for a database that is not there, and for those of the config servers. */
  async database(name: string): Promise<DatabaseEntry | undefined> {
    if (isConfigDatabase(name)) return undefined;
    const known = this.#databases.get(name);
    if (known !== undefined) return known;
    const [raw] = await this.find('databases', { _id: name });
    if (raw === undefined) return undefined;
    const fields = fieldsOf(raw);
    const version = fields.get('version');
    if (version === undefined) throw new Error(`config.databases has an entry of ${name} without a version`);
    const entry = { primary: textOf(fields.get('primary')) ?? '', version };
    this.#databases.set(name, entry);
    return entry;
  }

  /** The chunks of a sharded collection; false for any other. */
  async collection(ns: string): Promise<RoutingTable | false> {
    if (isConfigDatabase(databaseOf(ns))) return false;
    const known = this.#collections.get(ns);
    if (known !== undefined) return known;
    const table = await this.#readTable(ns);
    this.#collections.set(ns, table);
    return table;
  }

  /** The shard of a database's unsharded collections; undefined for a database that is not there. */
  async home(db: string): Promise<string | undefined> {
    return isConfigDatabase(db) ? CONFIG : (await this.database(db))?.primary;
  }

  /** Makes a database, unless it is there. Errors: NamespaceExists (48) where it has another primary. */
  async createDatabase(name: string, primary?: string): Promise<Fields> {
    const body = doc({ _configsvrCreateDatabase: name, primaryShardId: primary, writeConcern: MAJORITY });
    const answer = await this.#backend.callOk({ shard: CONFIG, db: 'admin', body });
    this.#databases.delete(name);
    return answer;
  }

  /** Forgets a collection and its database. */
  forget(ns: string): void {
    this.#collections.delete(ns);
    this.#databases.delete(databaseOf(ns));
  }

  /** Forgets a database and all of its collections. */
  forgetDatabase(db: string): void {
    this.#databases.delete(db);
    for (const ns of this.#collections.keys()) if (databaseOf(ns) === db) this.#collections.delete(ns);
  }

  /** Forgets everything but the shards. */
  forgetAll(): void {
    this.#databases.clear();
    this.#collections.clear();
  }

  async #readTable(ns: string): Promise<RoutingTable | false> {
    const [raw] = await this.find('collections', { _id: ns });
    if (raw === undefined) return false;
    const fields = fieldsOf(raw);
    if (isTrue(fields.get('dropped'))) return false;
    const chunks = await this.find('chunks', { uuid: fields.get('uuid') });
    return chunks.length > 0 && new RoutingTable(fields, chunks);
  }
}
