/** Makes the last check before a commit's point of no return, when nobody writes any more. */
import { idText, type OrderedDoc, type Timestamp } from '../bson/bson.js';
import { ttlRules } from '../catalog/ttl.js';
import { AppError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import { sameOrder } from '../matching/capped-order.js';
import type { Pair } from '../matching/compare-ids.js';
import { sameCount } from '../matching/counts.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { VerifiedCollections } from './context.js';
import { compareWithRecord } from './recorded-catalog.js';
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
  /** Whether documents may expire on the source: a block of its writes stops that. */
  readonly sourceExpires: boolean;
}

/** Cluster times up to which changes are compared: the source's commit time, and one of the destination's own. */
export interface Ends {
  readonly source: Timestamp;
  readonly destination: Timestamp;
}

/**
 * Proves, with everything up to the commit time applied and the source at rest, that the destination is the source:
 * documents, numbers of documents, the order of capped collections, indexes and views. A capped collection that is not
 * is copied again first. Errors: VerificationFailed, which names what differs; all documents that do are stored as
 * mismatches.
 */
export async function proveEqual(check: FinalCheck, ends: Ends, signal: AbortSignal): Promise<void> {
  const { pair, verifier, collections } = check;
  await verifier.compareUpTo(ends.source, ends.destination, signal);
  verifier.watchCappedWrites();
  const live = collections.live();
  const capped = live.filter((each) => each.capped);
  const others = live.filter((each) => !each.capped);
  const orders = await mapLimit(capped, PARALLEL, (each, inner) => mendedOrder(check, each, inner), signal);
  if (capped.length > 0) await verifier.recheckMismatches(signal);
  const numbers = await mapLimit(others, PARALLEL, (each, inner) => number(check, each, inner), signal);
  const problems = [
    ...orders.flat(),
    ...numbers.flat(),
    ...(await compareWithRecord(pair.destination, collections, check.isBuilt, signal)),
  ];
  await refuse(verifier, problems, signal);
}

/**
 * Proves that nobody has written to the destination since `proveEqual`, up to a later time of it. Errors: as there.
 */
export async function proveUntouched(check: FinalCheck, ends: Ends, signal: AbortSignal): Promise<void> {
  const { pair, verifier, collections } = check;
  await verifier.compareUpTo(ends.source, ends.destination, signal);
  // Their order, and all of those that change events do not tell of, is what single documents do not show.
  const capped = collections.live().filter((each) => each.capped && verifier.mayHaveCappedWrites(each.id));
  const orders = await mapLimit(capped, PARALLEL, (each, inner) => order(pair, each, inner), signal);
  const catalog = await compareWithRecord(pair.destination, collections, check.isBuilt, signal);
  await refuse(verifier, [...orders.flat(), ...catalog], signal);
}

async function refuse(verifier: Verifier, others: readonly string[], signal: AbortSignal): Promise<void> {
  const { mismatches } = verifier;
  const problems = [...(mismatches.total > 0 ? [mismatches.text, await firstIds(verifier, signal)] : []), ...others];
  if (problems.length === 0) return;
  const more = problems.length > MAX_NAMED ? `; and ${problems.length - MAX_NAMED} more differences` : '';
  const counts = [...mismatches.counts].slice(0, MAX_NAMED).map(([namespace, count]) => `${namespace}: ${count}`);
  throw new AppError(
    'VerificationFailed',
    `verification failed: ${problems.slice(0, MAX_NAMED).join('; ')}${more}. "mongoferry mismatches" lists the documents`,
    { metadata: { documents: String(mismatches.total), namespaces: counts.join(', ') } },
  );
}

/** What is wrong with a collection as a whole: its number of documents, or the order of a capped one. */
export async function numberAndOrder(
  pair: Pair,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<string[]> {
  if (!collection.capped) return number({ pair, sourceExpires: true, verifier: undefined }, collection, signal);
  return order(pair, collection, signal);
}

async function mendedOrder(
  { pair, verifier }: FinalCheck,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<string[]> {
  if (await sameOrder(pair, collection, signal)) return [];
  await verifier.copyAgain(collection, signal);
  return order(pair, collection, signal);
}

async function order(pair: Pair, collection: MigratedCollection, signal: AbortSignal): Promise<string[]> {
  if (await sameOrder(pair, collection, signal)) return [];
  return [`the documents of the capped collection ${collection.name} or their order differ`];
}

async function number(
  {
    pair,
    sourceExpires,
    verifier,
  }: Pick<FinalCheck, 'pair' | 'sourceExpires'> & { readonly verifier: Verifier | undefined },
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<string[]> {
  // With a filter, counting would read the whole collection.
  if (pair.filter !== undefined) return [];
  if (sourceExpires && ttlRules(collection.options, collection.indexes).length > 0) return [];
  const surplus = verifier?.pending.get(collection.id) ?? 0;
  return (await sameCount(pair, collection, surplus, signal)) ? [] : [`document counts differ in ${collection.name}`];
}

/** The first of them by `_id`, as Extended JSON. */
async function firstIds(verifier: Verifier, signal: AbortSignal): Promise<string> {
  for await (const page of verifier.mismatches.pages(signal)) {
    const named = page.slice(0, MAX_NAMED).map((each) => `${each.namespace} ${idText(each.id)} (${each.kind})`);
    return `among them ${named.join(', ')}`;
  }
  return '';
}
