/** Resolves the options of a start: sets defaults, and refuses what is wrong or not supported. */
import type { NamespaceFilterEntry } from '../catalog/namespace-filter.js';
import { type FieldViolation, invalidRequest } from '../errors.js';
import {
  BUILD_INDEXES,
  type BuildIndexes,
  type ClusterName,
  type DatabaseRemap,
  type DocumentFilterOption,
  type MigrationOptions,
  type NaturalOrderEntry,
  type ShardingOption,
  WRITE_BLOCKING,
  type WriteBlocking,
} from '../metadata/migration-options.js';
import { checkOptionRules, type Refuse } from './option-rules.js';

/**
 * What `start` was asked for, checked for form but not yet against the rules between options
 * (option-rules.ts) nor against the clusters (see the preflight). Absent = not given by the caller.
 */
export interface StartOptions {
  readonly source: string;
  readonly destination: string;
  readonly buildIndexes?: string;
  readonly enableUserWriteBlocking?: string | boolean;
  readonly reversible?: boolean;
  readonly includeNamespaces: readonly NamespaceFilterEntry[];
  readonly excludeNamespaces: readonly NamespaceFilterEntry[];
  readonly copyInNaturalOrder: readonly NaturalOrderEntry[];
  readonly detectRandomId?: boolean;
  readonly preExistingDestinationData?: boolean;
  readonly sharding?: ShardingOption;
  readonly verification?: { readonly enabled?: boolean };
  readonly namespaceRemap: readonly DatabaseRemap[];
  readonly documentFilter?: DocumentFilterOption;
  readonly skipDiskSpaceCheck?: boolean;
}

/** Options whose defaults do not depend on the clusters, before `completeOptions` fills in the others. */
export type ResolvedOptions = Omit<MigrationOptions, 'buildIndexes'> & {
  readonly buildIndexes: BuildIndexes | undefined;
};

const CLUSTERS: readonly string[] = ['cluster0', 'cluster1'];

/**
 * The options a migration will run with, those apart that depend on the source's version. Errors: InvalidRequest with
 * every violation at once. Source: docs/options.md.
 */
export function resolveStartOptions(options: StartOptions): ResolvedOptions {
  const violations: FieldViolation[] = [];
  const refuse: Refuse = (field, description) => {
    violations.push({ field, description });
  };
  checkClusters(options, refuse);
  const buildIndexes =
    options.buildIndexes === undefined ? undefined : oneOf(BUILD_INDEXES, options.buildIndexes, 'buildIndexes', refuse);
  const writeBlocking = resolveWriteBlocking(options, refuse);
  const resolved: ResolvedOptions = {
    source: options.source as ClusterName,
    destination: options.destination as ClusterName,
    buildIndexes,
    writeBlocking: writeBlocking ?? 'destinationOnly',
    reversible: options.reversible === true,
    includeNamespaces: options.includeNamespaces,
    excludeNamespaces: options.excludeNamespaces,
    copyInNaturalOrder: options.copyInNaturalOrder,
    detectRandomId: options.detectRandomId !== false,
    preExistingDestinationData: options.preExistingDestinationData === true,
    verification: options.verification?.enabled !== false,
    namespaceRemap: options.namespaceRemap,
    documentFilter: options.documentFilter ?? null,
    sharding: options.sharding ?? null,
  };
  const isBlockingGiven = options.enableUserWriteBlocking !== undefined;
  checkOptionRules({ ...resolved, buildIndexes: buildIndexes ?? 'afterDataCopy' }, isBlockingGiven, refuse);
  if (violations.length > 0) throw invalidRequest(violations);
  return resolved;
}

/**
 * Fills in what depends on the source's version: indexes are built after the copy where the source has the events that
 * tell of new ones (6.0 and later), before it elsewhere. `source`: undefined while it is not connected.
 */
export function completeOptions(
  options: ResolvedOptions,
  source: { isAtLeast(major: number): boolean } | undefined,
): MigrationOptions {
  const usual = source === undefined || source.isAtLeast(6) ? 'afterDataCopy' : 'beforeDataCopy';
  return { ...options, buildIndexes: options.buildIndexes ?? usual };
}

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

/**
 * Data that was there before cannot be protected by a block of the whole cluster, so `none` is the default with it. What
 * is to be reversed needs both sides blocked: mongosync of 1.20 and later knows no other way to ask for it.
 */
function resolveWriteBlocking(options: StartOptions, refuse: Refuse): WriteBlocking | undefined {
  const value = options.enableUserWriteBlocking;
  if (value === undefined) {
    if (options.preExistingDestinationData === true) return 'none';
    return options.reversible === true ? 'sourceAndDestination' : 'destinationOnly';
  }
  if (value === true) return 'sourceAndDestination';
  if (value === false) return 'none';
  return oneOf(WRITE_BLOCKING, value, 'enableUserWriteBlocking', refuse);
}
