import { type Doc, decodeOrdered } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { isMoved } from '../cluster/errors.js';
import { nsText } from '../cluster/namespace.js';
import { type RawBatch, rawBatches } from '../cluster/raw-cursor.js';
import type { CollectionAt } from '../cluster/read-by-id.js';
import { AppError } from '../errors.js';
import { sleep } from '../lib/signals.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { VerifyRange } from '../metadata/verification-store.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';
import type { VerifiedCollections } from './context.js';
import { type MatchEvents, matchDocuments } from './match.js';

const BATCH_DOCUMENTS = 10_000;
const RETRY_MS = 100;
/** A rename is applied within moments; what is not found for this long has been taken away by someone else. */
const MAX_TRIES = 600;

/**
 * Compares one range of `_id`s on both sides, read side by side in index order. Repeatable: a collection that is renamed
 * meanwhile is begun again. Resolves with the documents counted; `gone`: the collection was dropped.
 * Errors: DestinationModified when the destination's collection is missing although it was not dropped on the source.
 */
export async function scanRange(
  pair: Pair,
  collections: VerifiedCollections,
  range: VerifyRange,
  events: MatchEvents,
  signal: AbortSignal,
): Promise<'compared' | 'gone'> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const collection = collections.get(range.collection);
    if (collection === undefined || collection.dropped) return 'gone';
    const read = { source: 0, destination: 0 };
    const counted: MatchEvents = {
      onDiffering: events.onDiffering,
      onRead: (source, destination) => {
        read.source += source;
        read.destination += destination;
        events.onRead(source, destination);
      },
    };
    try {
      await pair.source.attempt(`comparing ${nsText(collection.ns)}`, signal, async () => {
        events.onRead(-read.source, -read.destination);
        read.source = 0;
        read.destination = 0;
        await scanOnce(pair, collection, range, counted, signal);
      });
      return 'compared';
    } catch (error) {
      if (!isMoved(error)) throw error;
      events.onRead(-read.source, -read.destination);
      await sleep(RETRY_MS, signal);
    }
  }
  throw new AppError(
    'DestinationModified',
    `${collections.get(range.collection)?.ns.db}.${collections.get(range.collection)?.ns.coll} could not be found to compare it`,
  );
}

async function scanOnce(
  pair: Pair,
  collection: MigratedCollection,
  range: VerifyRange,
  events: MatchEvents,
  signal: AbortSignal,
): Promise<void> {
  const source = readRange(pair.source, onSource(collection, pair.source), range, signal);
  const destination = readRange(pair.destination, onDestination(collection), range, signal);
  try {
    await matchDocuments(source, destination, events);
  } finally {
    await Promise.allSettled([source.return(undefined), destination.return(undefined)]);
  }
}

function readRange(
  cluster: Cluster,
  at: CollectionAt,
  range: VerifyRange,
  signal: AbortSignal,
): AsyncGenerator<RawBatch> {
  const command: Doc = {
    find: at.ns.coll,
    filter: {},
    hint: { _id: 1 },
    ...(range.lower === undefined ? {} : { min: decodeOrdered(range.lower) }),
    ...(range.upper === undefined ? {} : { max: decodeOrdered(range.upper) }),
    batchSize: BATCH_DOCUMENTS,
    ...(at.uuid === undefined ? {} : { collectionUUID: at.uuid }),
    readConcern: { level: 'majority', ...(cluster.now === undefined ? {} : { afterClusterTime: cluster.now }) },
  };
  return rawBatches(cluster, { db: at.ns.db, command, batchSize: BATCH_DOCUMENTS }, signal);
}
