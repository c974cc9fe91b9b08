/** Declares what the index builder works with. */
import type { OrderedDoc } from '../bson/bson.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap } from '../metadata/collections.js';

/** The collections whose indexes are built. */
export type IndexedCollections = Pick<CollectionMap, 'get' | 'live' | 'update' | 'version'>;

/** What the index builder works with. */
export interface IndexContext {
  readonly destination: WritableCluster;
  readonly collections: IndexedCollections;
  readonly logger: Logger;
  /** Whether the migration builds an index at all; by its `buildIndexes` option. */
  readonly wants: (spec: OrderedDoc) => boolean;
  /** Collections whose indexes are built at the same time. */
  readonly parallelBuilds: number;
  /** Called once for each spec that had to be changed for the server to take it. */
  readonly onWarning: (warning: string) => void;
}
