/** Declares what a verification works with. */
import type { Timestamp } from '../bson/bson.js';
import type { Narrowing } from '../catalog/narrowing.js';
import type { Cluster } from '../cluster/cluster.js';
import type { ChangeSource } from '../documents/change-source.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { CollectionSize } from '../documents/partition.js';
import type { ChangingLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { RangeScanner } from '../matching/range-scanner.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { VerificationState } from '../metadata/verification-store.js';

/** The collections that are compared, by source UUID. */
export type VerifiedCollections = Pick<CollectionMap, 'get' | 'live' | 'views'>;

/** What verification works with. Reads only, besides its own records. */
export interface VerifyContext {
  readonly source: Cluster;
  readonly destination: Cluster;
  /** The changes of each of them, independent of those that are applied. */
  readonly changes: { readonly source: ChangeSource; readonly destination: ChangeSource };
  /** Which of the source's documents are migrated; undefined: all. */
  readonly filter: DocumentFilter | undefined;
  readonly store: VerificationState;
  /** Which source collection is which on the destination, as far as applied. */
  readonly collections: VerifiedCollections;
  /** Leaves out what cannot be of `collections`; empty: all changes are read. */
  readonly narrowing: Narrowing;
  /** Whether no index is built: what expires by one could not be told from what is missing. */
  readonly buildsNoIndexes: boolean;
  /** A time of a cluster that its change stream passes, with everything acknowledged before the call at or before it. */
  readonly takeTime: (cluster: Cluster, signal: AbortSignal) => Promise<Timestamp>;
  /** Resolves once everything up to a time of the source is on the destination. */
  readonly applied: (time: Timestamp, signal: AbortSignal) => Promise<void>;
  /** Opens a scanner sized for about this many bytes of data; it is closed once all ranges are done. */
  readonly startScanner: (size: CollectionSize, signal: AbortSignal) => Promise<RangeScanner>;
  /** Whether `collections` follows renames and drops of the source, once the applier has got to them. */
  readonly followsCatalog: boolean;
  /** Told of a collection that is not where `collections` has it, and will not be: it is not compared. May throw. */
  readonly onTakenAway: (collection: MigratedCollection) => void;
  /** Whether both clusters delete what has expired, not the source alone. */
  readonly expiresOnBoth: boolean;
  /** How a collection is copied again: the order of a capped one cannot be mended otherwise. Undefined: nothing may be written. */
  readonly recopy:
    | {
        /** Runs `work` while nothing is applied to the collection, under the name it has then; not if it was dropped. */
        readonly withoutApplying: (
          id: string,
          work: (collection: MigratedCollection) => Promise<void>,
        ) => Promise<void>;
        readonly copy: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
      }
    | undefined;
  /** Ranges compared at the same time. */
  readonly parallelRanges: number | ChangingLimit;
  readonly logger: Logger;
  readonly onWarning: (warning: string) => void;
  /** Something that progress shows has changed. */
  readonly onChange: () => void;
}

/** What one pass of a verification works with. */
export interface PassContext extends VerifyContext {
  /** Copies a collection again and has it compared as a whole. Undefined: nothing may be written. */
  readonly copyAgain?: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
}
