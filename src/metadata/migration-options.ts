/** Declares the options that a migration runs with, and converts them to and from their stored form. */
import type { NamespaceFilterEntry } from '../catalog/namespace-filter.js';
import { AppError } from '../errors.js';

/** The two clusters by the names of the process's flags. */
const CLUSTER_NAMES = ['cluster0', 'cluster1'] as const;
export type ClusterName = (typeof CLUSTER_NAMES)[number];

export const BUILD_INDEXES = [
  'afterDataCopy',
  'beforeDataCopy',
  'excludeHashed',
  'excludeHashedAfterCopy',
  'never',
] as const;
export type BuildIndexes = (typeof BUILD_INDEXES)[number];

export const WRITE_BLOCKING = ['destinationOnly', 'sourceAndDestination', 'none'] as const;
export type WriteBlocking = (typeof WRITE_BLOCKING)[number];

/** Collections to copy in natural order; none named: the whole database; database ".": everything. */
export interface NaturalOrderEntry {
  readonly database: string;
  readonly collections: readonly string[];
}

/** A database that gets another name on the destination. */
export interface DatabaseRemap {
  readonly from: string;
  readonly to: string;
}

/** Only documents whose top-level field equals one of the values are migrated. */
export interface DocumentFilterOption {
  readonly field: string;
  /** Extended JSON. */
  readonly matchValues: readonly unknown[];
}

/** A field of a shard key; order is the key's. */
export interface ShardKeyField {
  readonly field: string;
  readonly value: 1 | -1 | 'hashed';
}

/** A collection of the source that is to be sharded on the destination. */
export interface ShardingEntry {
  readonly database: string;
  readonly collection: string;
  readonly key: readonly ShardKeyField[];
}

/** How the collections of a replica set are sharded on the destination. */
export interface ShardingOption {
  /** Whether indexes that shard keys need are made where the source has none. */
  readonly createSupportingIndexes: boolean;
  readonly shardingEntries: readonly ShardingEntry[];
}

/** What a migration runs with: every default filled in. Stored with the migration, and compared with a later `start`. */
export interface MigrationOptions {
  readonly source: ClusterName;
  readonly destination: ClusterName;
  readonly buildIndexes: BuildIndexes;
  readonly writeBlocking: WriteBlocking;
  readonly reversible: boolean;
  readonly includeNamespaces: readonly NamespaceFilterEntry[];
  readonly excludeNamespaces: readonly NamespaceFilterEntry[];
  readonly copyInNaturalOrder: readonly NaturalOrderEntry[];
  readonly detectRandomId: boolean;
  readonly preExistingDestinationData: boolean;
  readonly verification: boolean;
  readonly namespaceRemap: readonly DatabaseRemap[];
  /** null: none. */
  readonly documentFilter: DocumentFilterOption | null;
  /** null: collections are sharded on the destination as they are on the source. */
  readonly sharding: ShardingOption | null;
}

/** The stored form of options: a text, since names such as $oid, which options may hold, are not for every place of a document. */
export function fromOptions(options: MigrationOptions): string {
  return JSON.stringify(options);
}

/**
 * Reads stored options; what an earlier version did not know yet has its default. Errors: MetadataUnreadable when they are
 * none.
 */
export function toOptions(text: unknown): MigrationOptions {
  const read: unknown = typeof text === 'string' ? JSON.parse(text) : undefined;
  if (!isStored(read)) throw unreadable('the options');
  return { ...DEFAULTS, ...read };
}

const DEFAULTS = {
  includeNamespaces: [],
  excludeNamespaces: [],
  copyInNaturalOrder: [],
  detectRandomId: true,
  preExistingDestinationData: false,
  verification: true,
  namespaceRemap: [],
  documentFilter: null,
  sharding: null,
  reversible: false,
} as const;

/** What every version has stored. */
type Stored = Pick<MigrationOptions, 'source' | 'destination' | 'buildIndexes' | 'writeBlocking'> &
  Partial<MigrationOptions>;

function isStored(value: unknown): value is Stored {
  if (typeof value !== 'object' || value === null) return false;
  const { source, destination, buildIndexes, writeBlocking } = value as Partial<Record<keyof Stored, unknown>>;
  return (
    isOneOf(CLUSTER_NAMES, source) &&
    isOneOf(CLUSTER_NAMES, destination) &&
    isOneOf(BUILD_INDEXES, buildIndexes) &&
    isOneOf(WRITE_BLOCKING, writeBlocking)
  );
}

function isOneOf<T>(allowed: readonly T[], value: unknown): value is T {
  return allowed.some((each) => each === value);
}

function unreadable(what: string): AppError {
  return new AppError(
    'MetadataUnreadable',
    `${what} in the migration's record do not have the form that this program writes`,
  );
}
