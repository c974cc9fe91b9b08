/** Measures the least time that inserts and index builds take on this machine. */
import { type Db, type Document, Long, type MongoClient, type Timestamp } from 'mongodb';
import { BULK_INDEXES, bulkBatches, insertBatch } from '../test/support/seed-data-bulk.js';

/** The data of a bench: collections `c0`, `c1`, … of one database. */
export interface Dataset {
  readonly db: string;
  readonly collections: number;
  readonly documents: number;
  readonly documentBytes: number;
  /** Secondary indexes of each collection. */
  readonly indexes: number;
  /** The `_id` of document number `n`. Default: `n`. */
  readonly idOf?: (n: number) => unknown;
}

const IN_FLIGHT = 4;
const ROUND_BYTES = 256 * 1024 * 1024;
const BATCH_BYTES = 8 * 1024 * 1024;

/**
 * Seconds to insert the documents, raw, from memory, 4 commands in flight, w: majority, j: true: what any copy takes at
 * the least on this machine. Making the documents is not counted; they are made 256 MB at a time.
 */
export async function insertFloor(client: MongoClient, data: Dataset): Promise<number> {
  const db = client.db(data.db);
  const names = collectionNames(data);
  const sources = names.map(() => bulkBatches(data.documents / data.collections, data.documentBytes, data.idOf));
  let seconds = 0;
  for (;;) {
    const round: { name: string; batch: Buffer[] }[] = [];
    while (round.length * BATCH_BYTES < ROUND_BYTES) {
      const before = round.length;
      names.forEach((name, index) => {
        const next = sources[index]?.next();
        if (next?.done === false) round.push({ name, batch: next.value });
      });
      if (round.length === before) break;
    }
    if (round.length === 0) return seconds;
    const begun = performance.now();
    await drain(round, ({ name, batch }) => insertBatch(db, name, batch));
    seconds += (performance.now() - begun) / 1000;
  }
}

/** Seconds to build the secondary indexes of all collections at once, each collection's in one command. */
export async function indexFloor(client: MongoClient, data: Dataset): Promise<number> {
  const begun = performance.now();
  await Promise.all(collectionNames(data).map((name) => createIndexes(client.db(data.db), name, data.indexes)));
  return (performance.now() - begun) / 1000;
}

async function createIndexes(db: Db, name: string, count: number): Promise<void> {
  const indexes = BULK_INDEXES.slice(0, count).map(({ key, options }) => ({ key, ...options }));
  await db.command({ createIndexes: name, indexes, writeConcern: { w: 'majority' } });
}

/**
 * Seconds that the plain way takes in Node: `find()` and `insertMany()`, each document decoded and encoded again, all
 * collections at once; then the indexes.
 */
export async function naiveCopy(source: MongoClient, destination: MongoClient, data: Dataset): Promise<number> {
  const begun = performance.now();
  await Promise.all(
    collectionNames(data).map(async (name) => {
      const into = destination.db(data.db).collection(name);
      const options = { ordered: false, writeConcern: { w: 'majority' as const, journal: true } };
      let batch: Document[] = [];
      for await (const doc of source.db(data.db).collection(name).find({}, { batchSize: 10_000 })) {
        batch.push(doc);
        if (batch.length < 10_000) continue;
        await into.insertMany(batch, options);
        batch = [];
      }
      if (batch.length > 0) await into.insertMany(batch, options);
    }),
  );
  await indexFloor(destination, data);
  return (performance.now() - begun) / 1000;
}

interface StreamReply {
  readonly cursor: { readonly id: Long; readonly firstBatch?: Buffer[]; readonly nextBatch?: Buffer[] };
}

/**
 * Seconds to read so many change events from that time on, as raw bytes, the next read always on its way, with the
 * options that the engine needs: what any application of these events takes at the least.
 */
export async function rawReadFloor(client: MongoClient, from: Timestamp, events: number): Promise<number> {
  await using session = client.startSession();
  const admin = client.db('admin');
  const options = { session, promoteLongs: false };
  const $changeStream = {
    allChangesForCluster: true,
    showExpandedEvents: true,
    showRawUpdateDescription: true,
    startAtOperationTime: from,
  };
  const begun = performance.now();
  const first = { aggregate: 1, pipeline: [{ $changeStream }], cursor: {}, readConcern: { level: 'majority' } };
  let reply = (await admin.command(first, { ...options, fieldsAsRaw: { firstBatch: true } })) as StreamReply;
  const { id } = reply.cursor;
  const more = { getMore: Long.fromValue(id), collection: '$cmd.aggregate', maxTimeMS: 1000 };
  let read = 0;
  for (;;) {
    const ahead = admin.command(more, { ...options, fieldsAsRaw: { nextBatch: true } });
    ahead.catch(() => undefined);
    read += (reply.cursor.firstBatch ?? reply.cursor.nextBatch ?? []).length;
    const seconds = (performance.now() - begun) / 1000;
    reply = (await ahead) as StreamReply;
    if (read >= events) {
      await admin.command({ killCursors: '$cmd.aggregate', cursors: [id] }, options);
      return seconds;
    }
  }
}

/** Names of the data's collections. */
export function collectionNames(data: Dataset): string[] {
  return Array.from({ length: data.collections }, (_, index) => `c${index}`);
}

/** Works through a list, several at a time. */
export async function drain<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
  wide: number = IN_FLIGHT,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: wide }, worker));
}
