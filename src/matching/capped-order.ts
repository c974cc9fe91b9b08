/** Compares the natural order of a capped collection on both sides. */
import type { Doc } from '../bson/bson.js';
import { idDocument } from '../bson/raw-document.js';
import type { Cluster } from '../cluster/cluster.js';
import { rawBatches } from '../documents/raw-cursor.js';
import type { CollectionAt } from '../documents/read-by-id.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';
import { idKey } from './id-key.js';

const BATCH_DOCUMENTS = 2000;
/** Documents that one side has and the other has not met yet; beyond it the orders count as different. */
const MAX_APART = 100_000;

/**
 * Whether a capped collection holds the same documents in the same natural order on both sides. Call when neither is
 * written to: what is still on its way would count as a difference.
 */
export async function sameOrder(pair: Pair, collection: MigratedCollection, signal: AbortSignal): Promise<boolean> {
  return reading(pair, collection, signal, async (source, destination) => {
    for (;;) {
      const [a, b] = await Promise.all([source.next(), destination.next()]);
      if (a.done === true || b.done === true) return a.done === b.done;
      if (!a.value.equals(b.value)) return false;
    }
  });
}

/**
 * Whether the documents that are on both sides stand in the same natural order, whatever else one of them has: for
 * collections that are written to.
 */
export async function sameRelativeOrder(
  pair: Pair,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<boolean> {
  return reading(pair, collection, signal, inRelativeOrder);
}

/** The same of two streams of raw documents. */
export async function inRelativeOrder(
  source: AsyncIterator<Buffer>,
  destination: AsyncIterator<Buffer>,
): Promise<boolean> {
  const a = new OrderedSide(source);
  const b = new OrderedSide(destination);
  for (;;) {
    const [idA, idB] = await Promise.all([a.next(), b.next()]);
    if (idA === undefined && idB === undefined) return true;
    if (idA !== undefined && idA === idB) {
      if (!a.meets(a.read) || !b.meets(b.read)) return false;
      continue;
    }
    if (!pairs(a, idA, b) || !pairs(b, idB, a)) return false;
    if (a.apart + b.apart > MAX_APART) return false;
  }
}

/** Pairs a document just read with its counterpart if that was read earlier. False: they stand in another order. */
function pairs(from: OrderedSide, id: string | undefined, other: OrderedSide): boolean {
  if (id === undefined) return true;
  const position = other.takeWaiting(id);
  if (position === undefined) {
    from.wait(id);
    return true;
  }
  const isInOrder = other.meets(position);
  return from.meets(from.read) && isInOrder;
}

/** One of the two streams: how far it was read, what waits for its counterpart, and the last place that was paired. */
class OrderedSide {
  read = 0;
  readonly #documents: AsyncIterator<Buffer>;
  readonly #waiting = new Map<string, number>();
  #paired = 0;

  constructor(documents: AsyncIterator<Buffer>) {
    this.#documents = documents;
  }

  get apart(): number {
    return this.#waiting.size;
  }

  async next(): Promise<string | undefined> {
    const next = await this.#documents.next();
    if (next.done === true) return undefined;
    this.read++;
    return idKey(idDocument(next.value) ?? next.value);
  }

  wait(id: string): void {
    this.#waiting.set(id, this.read);
  }

  takeWaiting(id: string): number | undefined {
    const position = this.#waiting.get(id);
    this.#waiting.delete(id);
    return position;
  }

  /** Pairs the document at a place; false when a later one was paired already. */
  meets(position: number): boolean {
    if (position < this.#paired) return false;
    this.#paired = position;
    return true;
  }
}

function reading<T>(
  pair: Pair,
  collection: MigratedCollection,
  signal: AbortSignal,
  work: (source: AsyncGenerator<Buffer>, destination: AsyncGenerator<Buffer>) => Promise<T>,
): Promise<T> {
  return pair.source.attempt(`comparing the order of ${collection.name}`, signal, async () => {
    const source = documents(pair.source, onSource(collection, pair), signal);
    const destination = documents(pair.destination, onDestination(collection, pair), signal);
    try {
      return await work(source, destination);
    } finally {
      await Promise.allSettled([source.return(undefined), destination.return(undefined)]);
    }
  });
}

async function* documents(cluster: Cluster, at: CollectionAt, signal: AbortSignal): AsyncGenerator<Buffer> {
  const command: Doc = {
    find: at.ns.coll,
    filter: at.filter?.query() ?? {},
    hint: { $natural: 1 },
    batchSize: BATCH_DOCUMENTS,
    ...(at.uuid === undefined ? {} : { collectionUUID: at.uuid }),
    readConcern: { level: 'majority', ...(cluster.now === undefined ? {} : { afterClusterTime: cluster.now }) },
  };
  for await (const batch of rawBatches(cluster, { db: at.ns.db, command, batchSize: BATCH_DOCUMENTS }, signal))
    yield* batch.documents;
}
