/** What the acceptance tests of the router share: collections spread over two shards, and codes of errors. */
import type { Collection, Db, Document, MongoClient } from 'mongodb';
import { MongoBulkWriteError, MongoServerError } from 'mongodb';
import { ROUTER } from './router-process.js';
import type { ShardedCluster } from './sharded-cluster.js';

/** A document of the tests. */
export interface Row extends Document {
  _id: number | string;
}

/** What a suite runs against. */
export interface RouterBed {
  readonly cluster: ShardedCluster;
  readonly client: MongoClient;
  /** Told in the tests' names, e.g. `6.0.27 with access control`. */
  readonly variant: string;
}

/** A test's name, with what it went through. */
export function through(bed: RouterBed, behaviour: string): string {
  return `through ${ROUTER}, ${bed.variant}: ${behaviour}`;
}

/** The code of what a promise rejects with; of a bulk write: of its first error. Errors: a plain Error if it resolves. */
export async function codeOf(work: Promise<unknown>): Promise<number | string | undefined> {
  try {
    await work;
  } catch (error) {
    if (error instanceof MongoBulkWriteError) return firstCode(error);
    if (error instanceof MongoServerError) return error.code;
    throw error;
  }
  throw new Error('this should have been refused');
}

function firstCode({ writeErrors, code }: MongoBulkWriteError): number | string | undefined {
  const [first] = Array.isArray(writeErrors) ? writeErrors : [writeErrors];
  return first?.code ?? code;
}

/** Runs a command on `admin`. */
export async function admin({ client }: RouterBed, command: Document): Promise<Document> {
  return await client.db('admin').command(command);
}

/** A new database with its primary on the first shard. */
export async function freshDatabase(bed: RouterBed, name: string): Promise<Db> {
  await bed.client.db(name).dropDatabase();
  await admin(bed, { enableSharding: name, primaryShard: bed.cluster.shardName(0) });
  return bed.client.db(name);
}

/** `r` of a database, sharded by `a`: below 100 on the first shard, two chunks from there on the second. */
export async function ranged(bed: RouterBed, db: Db): Promise<Collection<Row>> {
  const ns = `${db.databaseName}.r`;
  await admin(bed, { shardCollection: ns, key: { a: 1 } });
  for (const a of [100, 200]) await bed.cluster.split(ns, { a });
  for (const a of [100, 200]) await bed.cluster.moveChunk({ ns, find: { a }, to: 1 });
  return db.collection<Row>('r');
}

/** 300 rows `{_id: i, a: i, p: i % 7, x: 'v<i>'}`. */
export async function fill(collection: Collection<Row>): Promise<void> {
  await collection.insertMany(range(0, 300).map((i) => ({ _id: i, a: i, p: i % 7, x: `v${i}` })));
}

/** Whole numbers from `low` up to below `high`. */
export function range(low: number, high: number): number[] {
  return Array.from({ length: high - low }, (_, index) => low + index);
}
