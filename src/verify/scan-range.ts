import type { Cluster } from '../cluster/cluster.js';
import type { CollectionAt } from '../cluster/read-by-id.js';
import { AppError } from '../errors.js';
import { sleep } from '../lib/signals.js';
import type { VerifyRange } from '../metadata/verification-store.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';
import type { VerifiedCollections } from './context.js';
import type { MatchEvents } from './match.js';
import type { RangeScanner, RangeSide } from './range-scanner.js';

const RETRY_MS = 100;
/** A rename is applied within moments; what is not found for this long has been taken away by someone else. */
const MAX_TRIES = 600;

/**
 * Compares one range of a collection wherever it is by now: one that is renamed meanwhile is begun again. `gone`: it was
 * dropped. Errors: DestinationModified when it is missing although it was not dropped on the source.
 */
export async function scanRange(
  context: Pair & { readonly collections: VerifiedCollections },
  scanner: RangeScanner,
  range: VerifyRange,
  events: MatchEvents,
  signal: AbortSignal,
): Promise<'compared' | 'gone'> {
  const { source, destination, collections } = context;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const collection = collections.get(range.collection);
    if (collection === undefined || collection.dropped) return 'gone';
    const scan = {
      source: sideOf(source, onSource(collection, context)),
      destination: sideOf(destination, onDestination(collection)),
      lower: range.lower,
      upper: range.upper,
      batchDocuments: range.batchDocuments,
      filter: context.filter?.spec,
    };
    if ((await scanner.scan(scan, events, signal)) === 'compared') return 'compared';
    await sleep(RETRY_MS, signal);
  }
  const name = collections.get(range.collection)?.name ?? 'a collection';
  throw new AppError('DestinationModified', `${name} could not be found to compare it: someone else took it away`);
}

function sideOf(cluster: Cluster, { ns, uuid }: CollectionAt): RangeSide {
  const { now } = cluster;
  return {
    ...ns,
    uuid: uuid === undefined ? undefined : Uint8Array.from(uuid.buffer.subarray(0, uuid.position)),
    after: now === undefined ? undefined : [now.getHighBitsUnsigned(), now.getLowBitsUnsigned()],
  };
}
