import { idText, type OrderedDoc, type Timestamp } from '../cluster/bson.js';
import { ttlRules } from '../cluster/ttl.js';
import { AppError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { sameOrder } from './capped-order.js';
import type { Pair } from './compare-ids.js';
import type { VerifiedCollections } from './context.js';
import { sameCount } from './counts.js';
import { compareCatalog } from './destination-catalog.js';
import type { Verifier } from './verifier.js';

const PARALLEL = 8;
const MAX_NAMED = 20;

/** What the last check looks at, besides what the verifier has followed. */
export interface FinalCheck {
  readonly pair: Pair;
  readonly verifier: Verifier;
  readonly collections: VerifiedCollections;
  /** Whether the migration builds an index at all. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
}

/**
 * Proves, with everything up to `time` applied and the source at rest, that the destination is the source: documents,
 * numbers of documents, the order of capped collections, indexes and views. Errors: VerificationFailed, which names what
 * differs; all documents that do are stored as mismatches.
 */
export async function proveEqual(check: FinalCheck, time: Timestamp, signal: AbortSignal): Promise<void> {
  const { pair, verifier, collections } = check;
  await verifier.settle(time, signal);
  const live = collections.live();
  const problems = [
    ...(verifier.mismatches.total > 0 ? [verifier.mismatches.text, await firstIds(verifier, signal)] : []),
    ...(await mapLimit(live, PARALLEL, (each, inner) => numberAndOrder(pair, each, inner), signal)).flat(),
    ...(await compareCatalog(pair.destination, collections, check.isBuilt, signal)),
  ];
  if (problems.length === 0) return;
  const more = problems.length > MAX_NAMED ? `; and ${problems.length - MAX_NAMED} more differences` : '';
  throw new AppError(
    'VerificationFailed',
    `the destination is not the source: ${problems.slice(0, MAX_NAMED).join('; ')}${more}. "mongoferry mismatches" lists the documents`,
    { metadata: { documents: String(verifier.mismatches.total) } },
  );
}

/** What is wrong with a collection as a whole: its number of documents, or the order of a capped one. */
export async function numberAndOrder(
  pair: Pair,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<string[]> {
  const ns = collection.name;
  if (collection.capped) {
    return (await sameOrder(pair, collection, signal))
      ? []
      : [`the capped collection ${ns} has not the same documents in the same order`];
  }
  // With a filter, counting would read the whole collection.
  if (pair.filter !== undefined) return [];
  // Expiry may go on at the source.
  if (ttlRules(collection.options, collection.indexes).length > 0) return [];
  return (await sameCount(pair, collection, signal)) ? [] : [`${ns} has another number of documents`];
}

/** The first of them by `_id`, as Extended JSON. */
async function firstIds(verifier: Verifier, signal: AbortSignal): Promise<string> {
  for await (const page of verifier.mismatches.pages(signal)) {
    const named = page.slice(0, MAX_NAMED).map((each) => `${each.namespace} ${idText(each.id)} (${each.kind})`);
    return `among them ${named.join(', ')}`;
  }
  return '';
}
