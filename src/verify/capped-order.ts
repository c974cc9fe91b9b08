import type { Doc } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { rawBatches } from '../cluster/raw-cursor.js';
import type { CollectionAt } from '../cluster/read-by-id.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';

const BATCH_DOCUMENTS = 2000;

/**
 * Whether a capped collection holds the same documents in the same natural order on both sides. Call when neither is
 * written to: the order of what is still on its way cannot be judged.
 */
export async function sameOrder(pair: Pair, collection: MigratedCollection, signal: AbortSignal): Promise<boolean> {
  return pair.source.attempt(`comparing the order of ${collection.name}`, signal, async () => {
    const source = documents(pair.source, onSource(collection, pair), signal);
    const destination = documents(pair.destination, onDestination(collection), signal);
    try {
      for (;;) {
        const [a, b] = await Promise.all([source.next(), destination.next()]);
        if (a.done === true || b.done === true) return a.done === b.done;
        if (!a.value.equals(b.value)) return false;
      }
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
