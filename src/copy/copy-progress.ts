/** Counts what the copy has written, by namespace. */
import { nsText } from '../catalog/namespace.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { PartitionRecord } from '../metadata/records.js';

/** The copy of one namespace, by its name on the source; sizes in bytes. */
export interface NamespaceCopy {
  readonly namespace: string;
  documentsCopied: number;
  bytesCopied: number;
  readonly estimatedDocuments: number;
  readonly estimatedBytes: number;
  partitionsDone: number;
  partitionsTotal: number;
}

/** Counts what the copy has written, in memory; a restart begins with the counts of the partitions that were done. */
export class CopyProgress {
  readonly #byId = new Map<string, NamespaceCopy>();
  #finished = false;

  load(collections: CollectionMap, partitions: readonly PartitionRecord[]): void {
    this.#byId.clear();
    for (const each of collections.live()) {
      if (each.copy.status === 'none') continue;
      this.#byId.set(each.id, {
        namespace: nsText(each.sourceNs),
        documentsCopied: 0,
        bytesCopied: 0,
        estimatedDocuments: each.copy.estimatedDocuments,
        estimatedBytes: each.copy.estimatedBytes,
        partitionsDone: 0,
        partitionsTotal: 0,
      });
    }
    for (const partition of partitions) {
      const copy = this.#byId.get(partition.collection);
      if (copy === undefined) continue;
      copy.partitionsTotal++;
      if (!partition.done) continue;
      copy.partitionsDone++;
      copy.documentsCopied += partition.documents;
      copy.bytesCopied += partition.bytes;
    }
  }

  add(collection: string, documents: number, bytes: number): void {
    const copy = this.#byId.get(collection);
    if (copy === undefined) return;
    copy.documentsCopied += documents;
    copy.bytesCopied += bytes;
  }

  partitionDone(collection: string): void {
    const copy = this.#byId.get(collection);
    if (copy !== undefined) copy.partitionsDone++;
  }

  finish(): void {
    this.#finished = true;
  }

  get namespaces(): readonly NamespaceCopy[] {
    return [...this.#byId.values()];
  }

  /** Bytes: copied never exceeds the total, and equals it once the copy is finished. */
  get totals(): { readonly totalBytes: number; readonly copiedBytes: number; readonly documents: number } {
    let total = 0;
    let copied = 0;
    let documents = 0;
    for (const each of this.#byId.values()) {
      total += Math.max(each.estimatedBytes, each.bytesCopied);
      copied += each.bytesCopied;
      documents += each.documentsCopied;
    }
    return { totalBytes: this.#finished ? copied : Math.max(1, total), copiedBytes: copied, documents };
  }
}
