/** Declares the parts of a migration that carry out DDL events. */
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { Layout } from '../layout/layout.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { MetadataStore } from '../metadata/store.js';

/** What DDL needs of the index builder: its builds stand in the way of renames and drops. */
export interface IndexQueue {
  /** Stops the builds of these collections and begins no other until `release`. */
  hold(ids: readonly string[], signal: AbortSignal): Promise<void>;
  release(ids: readonly string[]): void;
  /** The wanted indexes of a collection have changed. */
  changed(id: string): void;
}

/** Which try of a DDL event it is. */
export interface Attempt {
  /** An earlier run has begun it: any part of it may have been carried out. */
  readonly isReplay: boolean;
}

/** What DDL works with. */
export interface DdlContext {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly scope: Scope;
  readonly store: Pick<MetadataStore, 'loadDdl' | 'saveDdl'>;
  readonly collections: CollectionMap;
  readonly indexes: IndexQueue;
  /** How collections are spread over the destination. */
  readonly layout: Pick<Layout, 'keysOf' | 'spread'>;
  /** Copies a collection anew: some commands of the source write documents without events. */
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  readonly logger: Logger;
  readonly onWarning: (warning: string) => void;
}
