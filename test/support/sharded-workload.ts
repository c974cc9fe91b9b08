/** Writes to a sharded cluster, or to a replica set, at random: documents, keys that move, catalog changes, chunk moves. */
import { type Collection, type Db, type Document, MinKey, type MongoClient, MongoServerError } from 'mongodb';
import type { ShardedCluster } from './sharded-cluster.js';
import { Random } from './workload-random.js';

/** Who is written to, and by which random numbers. */
export interface ShardedWorkloadOptions {
  readonly client: MongoClient;
  readonly seed: number;
  /** The database, so that several workloads keep apart. */
  readonly db: string;
  /** Of a sharded source: chunks and primaries are moved. Undefined: a replica set, which has neither. */
  readonly cluster?: ShardedCluster;
}

/** Keys of the collections; those of `plain` are no shard key. */
export const SHARD_KEYS: Readonly<Record<string, Document | undefined>> = {
  hashed: { _id: 'hashed' },
  byA: { a: 1 },
  compound: { a: 1, 's.t': 1 },
  mixed: { a: 1, b: 'hashed' },
  plain: undefined,
};
const IDS = 400;
const VALUES = 200;

/** What a server refuses because another operation came first, or because a document has moved on. */
const EXPECTED = new Set([11000, 26, 48, 61, 85, 86, 112, 117, 251, 263, 276, 283, 12587, 34, 27, 96, 24, 246, 13388]);

/** A random workload; all of its operations are awaited one after the other. */
export class ShardedWorkload {
  readonly refused = new Map<string, number>();
  operations = 0;
  readonly #options: ShardedWorkloadOptions;
  readonly #random: Random;
  readonly #db: Db;
  #next = 10_000;
  #catalog = 0;

  constructor(options: ShardedWorkloadOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#db = options.client.db(options.db);
  }

  /** Creates the collections, sharded where there are shards, with some documents each and chunks on every shard. */
  async prepare(): Promise<void> {
    const { cluster, db } = this.#options;
    if (cluster !== undefined) await cluster.admin({ enableSharding: db });
    for (const [name, key] of Object.entries(SHARD_KEYS)) {
      await this.#db.createCollection(name);
      if (key !== undefined && cluster !== undefined) await this.#shard(name, key);
      else if (key !== undefined) await this.#db.collection(name).createIndex(key as Record<string, 1>);
      await this.#db.collection(name).createIndex({ n: 1 });
      await this.#db.collection<Document>(name).insertMany(Array.from({ length: IDS }, (_, id) => this.#document(id)));
    }
  }

  async run(operations: number): Promise<void> {
    for (let done = 0; done < operations; done++) {
      this.operations++;
      try {
        await this.#random.weighted(this.#acts()).run();
      } catch (error) {
        if (!(error instanceof MongoServerError) || !EXPECTED.has(Number(error.code))) throw error;
        const name = `${error.code}`;
        this.refused.set(name, (this.refused.get(name) ?? 0) + 1);
      }
    }
  }

  #acts(): { readonly weight: number; readonly run: () => Promise<unknown> }[] {
    const moves = this.#options.cluster === undefined ? [] : [{ weight: 2, run: () => this.#moveChunk() }];
    return [
      { weight: 30, run: () => this.#some().insertOne(this.#document(this.#next++)) },
      { weight: 25, run: () => this.#update() },
      { weight: 10, run: () => this.#replace() },
      { weight: 15, run: () => this.#moveKey() },
      { weight: 12, run: () => this.#delete() },
      { weight: 6, run: () => this.#transaction() },
      { weight: 2, run: () => this.#changeCatalog() },
      ...moves,
    ];
  }

  #some(): Collection<Document> {
    return this.#db.collection(this.#random.pick(Object.keys(SHARD_KEYS)));
  }

  /** Some documents lack fields of the shard keys, or have null in them. */
  #document(_id: number): Document {
    const random = this.#random;
    const a = random.chance(0.05) ? {} : { a: random.chance(0.05) ? null : random.int(VALUES) };
    const b = random.chance(0.05) ? {} : { b: random.chance(0.2) ? `b${random.int(VALUES)}` : random.int(VALUES) };
    const s = random.chance(0.1) ? {} : { s: { t: random.int(VALUES) } };
    return { _id: _id as never, ...a, ...b, ...s, n: 0, text: 'x'.repeat(random.int(200)) };
  }

  async #pick(collection: Collection<Document>): Promise<Document | undefined> {
    const from = this.#random.int(IDS) as never;
    const [found] = await collection
      .find({ _id: { $gte: from } })
      .sort({ _id: 1 })
      .limit(1)
      .toArray();
    return found;
  }

  async #update(): Promise<void> {
    const collection = this.#some();
    const found = await this.#pick(collection);
    const change = this.#random.pick<Document>([
      { $inc: { n: 1 } },
      { $set: { 's.u': this.#random.int(100) } },
      { $push: { list: this.#random.int(100) } },
      { $unset: { text: '' } },
    ]);
    if (found !== undefined) await collection.updateOne({ _id: found['_id'] }, change);
  }

  async #replace(): Promise<void> {
    const collection = this.#some();
    const found = await this.#pick(collection);
    if (found !== undefined)
      await collection.replaceOne(this.#keyOf(collection, found), { ...found, replaced: this.#random.int(1000) });
  }

  /** To another shard, most likely. */
  async #moveKey(): Promise<void> {
    const collection = this.#some();
    const found = await this.#pick(collection);
    if (found === undefined) return;
    const field = this.#random.pick(['a', 's.t', 'b']);
    await collection.updateOne(this.#keyOf(collection, found), { $set: { [field]: this.#random.int(VALUES) } });
  }

  async #delete(): Promise<void> {
    const collection = this.#some();
    const found = await this.#pick(collection);
    if (found !== undefined) await collection.deleteOne({ _id: found['_id'] });
  }

  #transaction(): Promise<void> {
    return this.#options.client.withSession((session) =>
      session.withTransaction(async () => {
        for (let count = 0; count < 3; count++) {
          const collection = this.#some();
          await collection.insertOne(this.#document(this.#next++), { session });
          await collection.updateOne({ _id: this.#random.int(IDS) as never }, { $inc: { n: 1 } }, { session });
        }
      }),
    );
  }

  async #changeCatalog(): Promise<void> {
    const name = `made${this.#catalog++}`;
    const db = this.#db;
    switch (this.#random.int(7)) {
      case 0:
        await db.createCollection(name);
        await db.collection<Document>(name).insertMany([this.#document(1), this.#document(2)]);
        return;
      case 1:
        await db.createCollection(name);
        if (this.#options.cluster !== undefined) await this.#shard(name, { a: 1 });
        await db.collection<Document>(name).insertMany(Array.from({ length: 50 }, (_, id) => this.#document(id)));
        return;
      case 2:
        return void (await this.#some().createIndex({ [this.#random.pick(['text', 'replaced'])]: 1 }));
      case 3:
        return void (await this.#some().dropIndex(this.#random.pick(['text_1', 'replaced_1'])));
      case 4:
        return this.#dropMade();
      case 5:
        return this.#renameMade(name);
      default:
        // Not of a sharded one: a shard without chunks of it is left out, and may become the primary.
        return void (await db.command({
          collMod: 'plain',
          validationLevel: this.#random.pick(['moderate', 'strict']),
        }));
    }
  }

  async #made(): Promise<string | undefined> {
    const all = await this.#db.listCollections({ name: /^made/ }, { nameOnly: true }).toArray();
    return all.length === 0 ? undefined : this.#random.pick(all).name;
  }

  async #dropMade(): Promise<void> {
    const name = await this.#made();
    if (name !== undefined) await this.#db.dropCollection(name);
  }

  async #renameMade(to: string): Promise<void> {
    const name = await this.#made();
    if (name !== undefined) await this.#db.renameCollection(name, to);
  }

  async #shard(name: string, key: Document): Promise<void> {
    const { cluster, db } = this.#options;
    await cluster?.admin({ shardCollection: `${db}.${name}`, key });
    if (cluster === undefined || Object.values(key)[0] === 'hashed') return;
    // Of a hashed field the lowest value stands for all hashes.
    const others = Object.entries(key).slice(1);
    const ends = Object.fromEntries(others.map(([field, kind]) => [field, kind === 'hashed' ? new MinKey() : 1]));
    await cluster.admin({ split: `${db}.${name}`, middle: { a: VALUES / 2, ...ends } });
    const find = { a: (VALUES * 3) / 4, b: 1, s: { t: 1 } };
    await cluster.moveChunk({ ns: `${db}.${name}`, find, to: 1 });
  }

  async #moveChunk(): Promise<void> {
    const { cluster, db } = this.#options;
    if (cluster === undefined) return;
    const to = this.#random.int(cluster.shards.length);
    if (this.#random.chance(0.15)) return cluster.movePrimary(db, to);
    const name = this.#random.pick(['byA', 'compound']);
    await cluster.moveChunk({ ns: `${db}.${name}`, find: { a: this.#random.int(VALUES), s: { t: 1 } }, to });
  }

  #keyOf(collection: Collection<Document>, doc: Document): Document {
    const key = this.#options.cluster === undefined ? {} : (SHARD_KEYS[collection.collectionName] ?? {});
    const values = Object.keys(key).map((path) => {
      const value: unknown = path.split('.').reduce<unknown>((at, name) => (at as Document | undefined)?.[name], doc);
      return [path, value ?? null];
    });
    return { ...Object.fromEntries(values), _id: doc['_id'] };
  }
}
