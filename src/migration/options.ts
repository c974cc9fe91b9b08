import { type FieldViolation, invalidRequest } from '../errors.js';

/** The two clusters by the names of the process's flags. */
export type ClusterName = 'cluster0' | 'cluster1';

/** A regular expression as MongoDB's $regex takes it. */
export interface RegexPattern {
  readonly pattern: string;
  readonly options: string;
}

/** Names databases or collections to include or exclude. */
export interface NamespaceFilterEntry {
  readonly database?: string;
  readonly databaseRegex?: RegexPattern;
  readonly collections: readonly string[];
  readonly collectionsRegex?: RegexPattern;
}

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

/** A field of a shard key; order is the key's. */
export interface ShardKeyField {
  readonly field: string;
  readonly value: 1 | -1 | 'hashed';
}

/**
 * What `start` was asked for, checked for form but not yet against the rules between options (see
 * `checkStartOptions`) nor against the clusters (see the preflight). Absent = not given by the caller.
 */
export interface StartOptions {
  readonly source: string;
  readonly destination: string;
  readonly buildIndexes?: string;
  readonly enableUserWriteBlocking?: string | boolean;
  readonly reversible?: boolean;
  readonly includeNamespaces: readonly NamespaceFilterEntry[];
  readonly excludeNamespaces: readonly NamespaceFilterEntry[];
  readonly copyInNaturalOrder: readonly { readonly database: string; readonly collections: readonly string[] }[];
  readonly detectRandomId?: boolean;
  readonly preExistingDestinationData?: boolean;
  readonly sharding?: {
    readonly createSupportingIndexes: boolean;
    readonly shardingEntries: readonly {
      readonly database: string;
      readonly collection: string;
      readonly key: readonly ShardKeyField[];
    }[];
  };
  readonly verification?: { readonly enabled?: boolean };
  readonly namespaceRemap: readonly { readonly from: string; readonly to: string }[];
  readonly documentFilter?: { readonly field: string; readonly matchValues: readonly unknown[] };
  readonly skipDiskSpaceCheck?: boolean;
}

/** What a migration runs with: every default filled in. Stored with the migration. */
export interface MigrationOptions {
  readonly source: ClusterName;
  readonly destination: ClusterName;
  readonly buildIndexes: BuildIndexes;
  readonly writeBlocking: WriteBlocking;
  readonly reversible: boolean;
  readonly verification: boolean;
}

const CLUSTERS: readonly string[] = ['cluster0', 'cluster1'];
const LATER = 'is not available in this version of mongoferry';

/**
 * The options a migration will run with. Errors: InvalidRequest with every violation at once.
 * Source: docs/options.md.
 */
export function resolveStartOptions(options: StartOptions): MigrationOptions {
  const violations: FieldViolation[] = [];
  const refuse = (field: string, description: string): void => {
    violations.push({ field, description });
  };
  checkClusters(options, refuse);
  const buildIndexes = oneOf(BUILD_INDEXES, options.buildIndexes ?? 'afterDataCopy', 'buildIndexes', refuse);
  const writeBlocking = resolveWriteBlocking(options.enableUserWriteBlocking, refuse);
  refuseLaterOptions(options, writeBlocking, refuse);
  if (violations.length > 0) throw invalidRequest(violations);
  return {
    source: options.source as ClusterName,
    destination: options.destination as ClusterName,
    buildIndexes: buildIndexes ?? 'afterDataCopy',
    writeBlocking: writeBlocking ?? 'destinationOnly',
    reversible: false,
    verification: false,
  };
}

type Refuse = (field: string, description: string) => void;

function checkClusters(options: StartOptions, refuse: Refuse): void {
  for (const field of ['source', 'destination'] as const) {
    const name = options[field];
    if (name === '') refuse(field, 'is required: "cluster0" or "cluster1"');
    else if (!CLUSTERS.includes(name)) refuse(field, `must be "cluster0" or "cluster1", not "${name}"`);
  }
  if (options.source !== '' && options.source === options.destination) {
    refuse('destination', 'must be another cluster than the source');
  }
}

function oneOf<T extends string>(allowed: readonly T[], value: string, field: string, refuse: Refuse): T | undefined {
  const found = allowed.find((item) => item === value);
  if (found === undefined)
    refuse(field, `must be one of ${allowed.map((item) => `"${item}"`).join(', ')}, not "${value}"`);
  return found;
}

function resolveWriteBlocking(value: string | boolean | undefined, refuse: Refuse): WriteBlocking | undefined {
  if (value === undefined) return 'destinationOnly';
  if (value === true) return 'sourceAndDestination';
  if (value === false) return 'none';
  return oneOf(WRITE_BLOCKING, value, 'enableUserWriteBlocking', refuse);
}

/** Options of the contract whose engine part is not built: refused by name, never ignored. */
function refuseLaterOptions(options: StartOptions, writeBlocking: WriteBlocking | undefined, refuse: Refuse): void {
  if (writeBlocking === 'sourceAndDestination') {
    refuse('enableUserWriteBlocking', `"sourceAndDestination" ${LATER}; use "destinationOnly" or "none"`);
  }
  if (options.reversible === true) refuse('reversible', LATER);
  if (options.includeNamespaces.length > 0) refuse('includeNamespaces', LATER);
  if (options.excludeNamespaces.length > 0) refuse('excludeNamespaces', LATER);
  if (options.copyInNaturalOrder.length > 0) refuse('copyInNaturalOrder', LATER);
  if (options.detectRandomId === true) refuse('detectRandomId', LATER);
  if (options.preExistingDestinationData === true) refuse('preExistingDestinationData', LATER);
  if (options.sharding !== undefined) refuse('sharding', `${LATER}, and is only for a sharded destination`);
  if (options.verification?.enabled === true)
    refuse('verification.enabled', `the verifier ${LATER}; leave it out or set it to false`);
  if (options.namespaceRemap.length > 0) refuse('namespaceRemap', LATER);
  if (options.documentFilter !== undefined) refuse('documentFilter', LATER);
}
