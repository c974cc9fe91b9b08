/** Decides which collections get their indexes while they are empty. */
import type { OrderedDoc } from '../bson/bson.js';
import { relaxedIndex, splitTwins } from '../catalog/index-spec.js';
import type { CollectionSize } from '../documents/partition.js';
import type { MigratedCollection } from '../metadata/collections.js';

/** With so many documents and fewer, keeping an index while they are copied costs less than building it afterwards. */
const FEW_DOCUMENTS = 1000;

/** Which indexes a migration builds, and when. */
export interface EarlyIndexes {
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  /** Whether all are built before the copy, whatever the size of the collection. */
  readonly buildsBeforeCopy: boolean;
}

/**
 * The indexes to create with a collection, as they are sent; none where they are better built later. How many documents
 * there are is an estimate: a wrong one costs time and nothing else.
 */
export function earlyIndexes(
  { isBuilt, buildsBeforeCopy }: EarlyIndexes,
  { indexes, options, capped }: MigratedCollection,
  { documents }: CollectionSize,
): OrderedDoc[] {
  if (capped || (!buildsBeforeCopy && documents > FEW_DOCUMENTS)) return [];
  return splitTwins(indexes.filter(isBuilt)).built.map((spec) => relaxedIndex(spec, options).spec);
}
