/** Makes collections of a migration for tests that need only some of what is known of one. */
import { UUID } from 'mongodb';
import { UNSHARDED } from '../../src/bson/key-query.js';
import { describeNs } from '../../src/catalog/namespace.js';
import type { MigratedCollection } from '../../src/metadata/collections.js';

/** A copied collection without indexes, under one name on both sides, but for these changes. */
export function migratedCollection(changes: Partial<MigratedCollection> = {}): MigratedCollection {
  const ns = changes.ns ?? changes.sourceNs ?? { db: 'shop', coll: 'items' };
  const { sourceNs = ns } = changes;
  return {
    id: 'c'.repeat(32),
    ns,
    sourceNs,
    name: describeNs(sourceNs, ns),
    destinationUuid: new UUID(),
    options: new Map(),
    indexes: [],
    dropped: false,
    copy: { status: 'done', estimatedDocuments: 1, estimatedBytes: 1 },
    capped: false,
    collated: false,
    keyPaths: UNSHARDED,
    ...changes,
  };
}
