/** Compares one range of a collection, also when the collection is renamed or dropped meanwhile. */
import { uuidFrom } from '../bson/uuid.js';
import { findByUuid, findCollection } from '../catalog/catalog.js';
import { sameUuid } from '../catalog/collection-spec.js';
import { sameNs } from '../catalog/namespace.js';
import { assertInPlace } from '../catalog/old-source.js';
import type { Cluster } from '../cluster/cluster.js';

import type { CollectionAt } from '../documents/read-by-id.js';
import { sleep } from '../lib/signals.js';
import { onDestination, onSource } from '../matching/compare-ids.js';
import type { MatchEvents } from '../matching/match.js';
import type { RangeScanner, RangeSide } from '../matching/range-scanner.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { VerifyRange } from '../metadata/verification-store.js';
import type { VerifyContext } from './context.js';

const RETRY_MS = 100;

/**
 * Compares one range of a collection wherever it is by now: one that is renamed meanwhile is begun again, once the
 * applier has got there. `gone`: it was dropped. Errors: those of `onTakenAway`; UnsupportedChange
 * when the catalog of a source before 6.0 has changed.
 */
export async function scanRange(
  context: VerifyContext,
  scanner: RangeScanner,
  range: VerifyRange,
  events: MatchEvents,
  signal: AbortSignal,
): Promise<'compared' | 'gone'> {
  const { source, destination, collections } = context;
  let unexplained: MigratedCollection | undefined;
  for (;;) {
    const collection = collections.get(range.collection);
    if (collection === undefined || collection.dropped) return 'gone';
    const scan = {
      source: sideOf(source, onSource(collection, context), collection.keyPaths.source),
      destination: sideOf(destination, onDestination(collection, context), collection.keyPaths.destination),
      lower: range.lower,
      upper: range.upper,
      batchDocuments: range.batchDocuments,
      filter: context.filter?.spec,
    };
    const uuid = uuidFrom(Buffer.from(collection.id, 'hex'));
    await assertInPlace(source, collection.sourceNs, uuid, signal);
    if ((await scanner.scan(scan, events, signal)) === 'compared') {
      await assertInPlace(source, collection.sourceNs, uuid, signal);
      return 'compared';
    }
    if (context.followsCatalog) {
      // A rename or drop that is being applied is in the map only a moment later: looked at again, with the applier past it.
      const missed = await missingAt(context, collection, signal);
      if (missed !== undefined && missed === unexplained) return takenAway(context, missed);
      unexplained = missed;
    } else if (await isElsewhere(context, collection, signal)) return takenAway(context, collection);
    await sleep(RETRY_MS, signal);
  }
}

function takenAway({ onTakenAway }: VerifyContext, collection: MigratedCollection): 'gone' {
  onTakenAway(collection);
  return 'gone';
}

/**
 * What the map has of a collection that the destination does not have in that place; undefined when it does, or the
 * collection was dropped. Awaits the applier, which may be long in getting to the rename or drop.
 */
async function missingAt(
  { source, destination, collections, applied }: VerifyContext,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<MigratedCollection | undefined> {
  await source.read('asking for the time', 'admin', { ping: 1 }, signal);
  if (source.now !== undefined) await applied(source.now, signal);
  const now = collections.get(collection.id);
  if (now?.destinationUuid === undefined || now.dropped) return undefined;
  const found = await findByUuid(destination, now.destinationUuid, now.ns.db, signal);
  return found !== undefined && sameNs(found, now.ns) ? undefined : now;
}

/** Whether one of the sides has another collection, or none, under the name of one that no map follows. */
async function isElsewhere(
  { source, destination }: VerifyContext,
  { id, ns, sourceNs, destinationUuid }: MigratedCollection,
  signal: AbortSignal,
): Promise<boolean> {
  const there = await findCollection(source, sourceNs, signal);
  const here = await findCollection(destination, ns, signal);
  return !sameUuid(there?.uuid, uuidFrom(Buffer.from(id, 'hex'))) || !sameUuid(here?.uuid, destinationUuid);
}

function sideOf(cluster: Cluster, { ns, uuid }: CollectionAt, paths: readonly string[]): RangeSide {
  const { now } = cluster;
  return {
    ...ns,
    uuid: uuid === undefined ? undefined : Uint8Array.from(uuid.buffer.subarray(0, uuid.position)),
    isSharded: paths.length > 0,
    after: now === undefined ? undefined : [now.getHighBitsUnsigned(), now.getLowBitsUnsigned()],
  };
}
