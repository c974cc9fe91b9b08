/** Computes progress by namespace. */
import { nsText } from '../catalog/namespace.js';
import type { NamespaceSnapshot } from './control.js';
import type { ObservedMigration, ObservedRun } from './observed.js';

/** The copy, index builds and verification of every namespace, by name. */
export function namespaceSnapshots(run: ObservedRun, migration: ObservedMigration): NamespaceSnapshot[] {
  const copies = new Map(run.copy.namespaces.map((each) => [each.namespace, each]));
  const rows = migration.collections.live().map((each) => {
    const namespace = nsText(each.sourceNs);
    const copy = copies.get(namespace);
    const indexes = run.indexes.countsOf(each);
    return {
      namespace,
      documentsCopied: copy?.documentsCopied ?? 0,
      estimatedDocuments: copy?.estimatedDocuments ?? 0,
      bytesCopied: copy?.bytesCopied ?? 0,
      estimatedBytes: Math.max(copy?.estimatedBytes ?? 0, copy?.bytesCopied ?? 0),
      partitionsDone: copy?.partitionsDone ?? 0,
      partitionsTotal: copy?.partitionsTotal ?? 0,
      indexesBuilt: indexes.built,
      indexesTotal: indexes.total,
      documentsHashed: run.verifier?.hashedOf(each.id) ?? 0,
      mismatchCount: run.verifier?.mismatches.counts.get(namespace) ?? 0,
    };
  });
  return rows.sort((a, b) => (a.namespace < b.namespace ? -1 : 1));
}
