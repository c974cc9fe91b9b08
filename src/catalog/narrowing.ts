/** Makes stages with which the server leaves out change events of namespaces that are not migrated. */
import type { Doc } from '../bson/bson.js';
import type { NamespaceFilterEntry, NamespaceFilterOptions } from './namespace-filter.js';

/** Stages for a change stream of either cluster. */
export interface Narrowing {
  readonly source: readonly Doc[];
  readonly destination: readonly Doc[];
}

/**
 * Leaves out document changes of namespaces that a filter's plain names rule out: on the source by their names, on the
 * destination by databases alone. What a pattern decides is let through, and no other code of the filter is used: who
 * proves that the filter was followed must not repeat its faults.
 *
 * Nothing is lost by renames: a change bears the name of its moment, and a collection that comes into the filter is
 * compared as a whole. `target`: a source database's name on the destination, where only that holds what is migrated.
 */
export function narrowing(
  { includeNamespaces, excludeNamespaces }: NamespaceFilterOptions,
  target: (db: string) => string,
): Narrowing {
  const included = includeNamespaces.map(namedBy);
  const isNamed = included.length > 0 && included.every((each) => each !== undefined);
  const excluded = excludeNamespaces.flatMap((entry) => excludedBy(entry) ?? []);
  const databases = [...new Set(includeNamespaces.map(({ database = '' }) => target(database)))];
  return {
    source: stage([...(isNamed ? [{ $or: included }] : []), ...excluded.map((each) => ({ $not: [each] }))]),
    destination: stage(isNamed ? [isOneOf('$ns.db', databases)] : []),
  };
}

/** True for all that an entry may include; undefined: that may be anything. */
function namedBy({ database, collections, collectionsRegex }: NamespaceFilterEntry): Doc | undefined {
  if (database === undefined) return undefined;
  return collectionsRegex === undefined ? named(database, collections) : named(database, []);
}

/** True only for what an entry excludes by name; undefined: for nothing. */
function excludedBy({ database, collections, collectionsRegex }: NamespaceFilterEntry): Doc | undefined {
  const isPattern = collections.length === 0 && collectionsRegex !== undefined;
  return database === undefined || isPattern ? undefined : named(database, collections);
}

/** No collections: all of the database. */
function named(database: string, collections: readonly string[]): Doc {
  const inDatabase = isOneOf('$ns.db', [database]);
  return collections.length === 0 ? inDatabase : { $and: [inDatabase, isOneOf('$ns.coll', collections)] };
}

function isOneOf(field: string, names: readonly string[]): Doc {
  return { $in: [field, { $literal: names }] };
}

/** As an expression: a query on `ns` is rewritten by the server, on 6.0 not always rightly (docs/04-apply.md). */
function stage(conditions: readonly Doc[]): Doc[] {
  return conditions.length === 0 ? [] : [{ $match: { $expr: { $and: conditions } } }];
}
