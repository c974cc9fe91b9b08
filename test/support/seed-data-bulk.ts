/** Makes many documents of one size, for measurements. */
import type { CreateIndexesOptions, Db, IndexSpecification, MongoClient } from 'mongodb';
import { part, rawDocument, sequence } from './seed-data-raw.js';

/** How much {@link seedBulk} makes. */
export interface BulkOptions {
  /** Default `bulk`. */
  readonly db?: string;
  /** Collections, named `c0`, `c1`, … */
  readonly collections: number;
  /** Documents in all, spread evenly. */
  readonly documents: number;
  /** Size of each document; at least 120. */
  readonly documentBytes: number;
  /** Secondary indexes of each collection, at most 4, built after the inserts. */
  readonly indexes?: number;
}

/** The secondary indexes of bulk collections, in the order in which `indexes` counts them. */
export const BULK_INDEXES: readonly { readonly key: IndexSpecification; readonly options: CreateIndexesOptions }[] = [
  { key: { n: 1 }, options: { name: 'n', unique: true } },
  { key: { group: 1, at: -1 }, options: { name: 'group and time' } },
  { key: { word: 1 }, options: { name: 'word' } },
  { key: { at: 1 }, options: { name: 'time', expireAfterSeconds: 3600 } },
];

const EPOCH_MS = Date.UTC(2090, 0, 1);
const WORDS = ['amber', 'birch', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath'];
const BATCH_BYTES = 8 * 1024 * 1024;
const IN_FLIGHT = 4;

/** The document number `n` of a bulk collection, always the same bytes. */
export function bulkDocument(n: number, bytes: number, id: unknown = n): Buffer {
  const head = [
    part('_id', id),
    part('n', n),
    part('group', n % 97),
    part('at', new Date(EPOCH_MS + n * 1000)),
    part('word', `${WORDS[n % WORDS.length]} ${(n * 2_654_435_761) % 4_294_967_296}`),
  ];
  const short = rawDocument([...head, part('pad', '')]);
  return rawDocument([
    ...head,
    part('pad', 'abcdefghij'.repeat(Math.ceil(bytes / 10)).slice(0, Math.max(0, bytes - short.length))),
  ]);
}

/** Batches of the documents of one bulk collection, of about 8 MB each. */
export function* bulkBatches(
  documents: number,
  documentBytes: number,
  idOf: (n: number) => unknown = (n) => n,
): Generator<Buffer[]> {
  const size = Math.max(1, Math.min(10_000, Math.floor(BATCH_BYTES / documentBytes)));
  for (let from = 0; from < documents; from += size) {
    const count = Math.min(size, documents - from);
    yield Array.from({ length: count }, (_, index) => {
      return bulkDocument(from + index, documentBytes, idOf(from + index));
    });
  }
}

/** Inserts raw documents the fastest way there is, confirmed by a majority and in the journal. */
export async function insertBatch(db: Db, collection: string, batch: readonly Buffer[]): Promise<void> {
  const reply = await db.command({
    insert: collection,
    ordered: false,
    bypassDocumentValidation: true,
    writeConcern: { w: 'majority', j: true },
    documents: sequence('documents', batch),
  });
  if (reply['n'] !== batch.length)
    throw new Error(`${collection}: ${reply['n']} of ${batch.length} documents inserted`);
}

/** Fills a database with documents of one size, the same every time; returns the bytes of all. */
export async function seedBulk(client: MongoClient, options: BulkOptions): Promise<number> {
  const { collections, documents, documentBytes, indexes = 0 } = options;
  const db = client.db(options.db ?? 'bulk');
  const perCollection = Math.ceil(documents / collections);
  let bytes = 0;
  for (let index = 0; index < collections; index++) {
    const name = `c${index}`;
    const running = new Set<Promise<void>>();
    for (const batch of bulkBatches(perCollection, documentBytes)) {
      for (const document of batch) bytes += document.length;
      const insert = insertBatch(db, name, batch);
      running.add(insert);
      void insert.then(
        () => running.delete(insert),
        () => running.delete(insert),
      );
      if (running.size >= IN_FLIGHT) await Promise.race(running);
    }
    await Promise.all(running);
    for (const { key, options: more } of BULK_INDEXES.slice(0, indexes))
      await db.collection(name).createIndex(key, more);
  }
  return bytes;
}
