/** Compares two lists of a collection's indexes: the one place that says what differs between them. */
import type { OrderedDoc } from '../bson/bson.js';
import { indexName } from './index-spec.js';

/** An index that only one of two lists has, or that they have under one name and not alike. */
export interface IndexDifference {
  readonly name: string;
  readonly kind: 'missing' | 'extra' | 'other';
}

/** How indexes are compared. */
export interface IndexComparison {
  /** What makes two of them alike: `comparableIndex`, or `builtText` while uniqueness and expiry are held back. */
  readonly textOf: (spec: OrderedDoc) => string;
  /** Whether a wanted index must exist; the others may. Default: all must. */
  readonly isRequired?: (spec: OrderedDoc) => boolean;
}

/** What an actual list has otherwise than the wanted one, by name: names are unique within a collection. */
export function indexDifferences(
  wanted: readonly OrderedDoc[],
  actual: readonly OrderedDoc[],
  { textOf, isRequired = () => true }: IndexComparison,
): IndexDifference[] {
  const missing = new Map(wanted.map((spec) => [indexName(spec), spec]));
  const differences: IndexDifference[] = [];
  for (const spec of actual) {
    const name = indexName(spec);
    const other = missing.get(name);
    missing.delete(name);
    if (other === undefined) differences.push({ name, kind: 'extra' });
    else if (textOf(other) !== textOf(spec)) differences.push({ name, kind: 'other' });
  }
  for (const [name, spec] of missing) if (isRequired(spec)) differences.push({ name, kind: 'missing' });
  return differences;
}
