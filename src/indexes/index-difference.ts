/** Decides which indexes of a collection are to be built and which are to be dropped. */
import type { OrderedDoc } from '../bson/bson.js';
import { builtText, indexName } from '../catalog/index-spec.js';

/** What a collection's indexes are, and what they should be. */
export interface IndexSets {
  /** As they are to be built, relaxed. */
  readonly wanted: readonly OrderedDoc[];
  /** All that the destination has. */
  readonly actual: readonly OrderedDoc[];
  /** Names of those that expire documents on the source. */
  readonly expiring: ReadonlySet<string>;
  /** Those of the destination that stay although nobody wants them. */
  readonly kept: readonly OrderedDoc[];
  /** Whether the migration builds an index. */
  readonly wants: (spec: OrderedDoc) => boolean;
}

/**
 * What is to be built and what is to be dropped first. What the migration does not build it does not drop either, but
 * where its name is needed: after a reversal such indexes may be there.
 */
export function compareIndexes({ wanted, actual, expiring, kept, wants }: IndexSets): {
  readonly missing: readonly OrderedDoc[];
  readonly surplus: readonly OrderedDoc[];
} {
  // No collMod takes the expiry from an index: one whose successor has none is built anew.
  const isUsable = (spec: OrderedDoc): boolean => !spec.has('expireAfterSeconds') || expiring.has(indexName(spec));
  const wantedTexts = new Set(wanted.map((spec) => builtText(spec)));
  const actualTexts = new Set(actual.filter((spec) => wants(spec) && isUsable(spec)).map(builtText));
  const missing = wanted.filter((spec) => !actualTexts.has(builtText(spec)));
  const names = new Set(missing.map(indexName));
  const keptNames = new Set(kept.map(indexName));
  const surplus = actual.filter((spec) =>
    wants(spec) && !keptNames.has(indexName(spec))
      ? !isUsable(spec) || !wantedTexts.has(builtText(spec))
      : names.has(indexName(spec)),
  );
  return { missing, surplus };
}
