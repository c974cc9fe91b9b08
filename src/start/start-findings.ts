/** Collects everything that stands against a start. */
import type { OrderedDoc } from '../bson/bson.js';
import { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { isBuilt } from '../indexes/build-mode.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import { MetadataReader } from '../metadata/reader.js';
import type { State } from '../metadata/state.js';
import type { Finding } from '../preflight/finding.js';
import { preflight } from '../preflight/preflight.js';
import { checkOtherMigrations } from './other-migrations.js';
import { blocksDestination, checkMetadata, migrationExists } from './starting.js';

/** A start that is asked about. */
export interface StartQuestion {
  readonly wanted: MigrationOptions;
  readonly source: Cluster;
  readonly destination: Cluster;
  /** The metadata database. */
  readonly db: string;
  /** Of this process's migration; its state is read late, since a start may go on meanwhile. */
  readonly machine: { readonly state: State };
  /** Whether the data is to be verified; by the process's options, too. */
  readonly verifies: boolean;
  readonly skipDiskSpaceCheck: boolean;
}

/** Findings that a running migration causes itself. */
const OUR_DOING = new Set([
  'DestinationNotEmpty',
  'DestinationNamespaceExists',
  'DestinationWritesBlocked',
  'SourceWritesBlocked',
]);

/**
 * Everything that stands against a start. If a migration exists already, only that is reported, and not the findings that
 * this migration itself causes.
 */
export async function findingsOf(question: StartQuestion, signal: AbortSignal): Promise<Finding[]> {
  const { wanted, source, destination, db } = question;
  const findings = await runPreflight(question, signal);
  const { state } = question.machine;
  const store = new MetadataReader(destination, db);
  const existing = state === 'IDLE' ? await checkMetadata(store, signal) : migrationExists(state, db);
  if (existing !== undefined)
    return [existing, ...findings.filter((each) => existing.name !== 'MigrationExists' || !OUR_DOING.has(each.name))];
  const others = await checkOtherMigrations(wanted, { source, destination }, db, signal);
  const left = wanted.reversible ? await checkMetadata(new MetadataReader(source, db), signal) : undefined;
  return [...others, ...(left === undefined ? [] : [onReversal(left, source, db)]), ...findings];
}

async function runPreflight(question: StartQuestion, signal: AbortSignal): Promise<readonly Finding[]> {
  const { wanted, source, destination, verifies, skipDiskSpaceCheck } = question;
  const scope = new Scope(source, wanted);
  await scope.validate(signal);
  const checks = {
    scope,
    blocksDestination: blocksDestination(wanted),
    blocksSource: wanted.writeBlocking === 'sourceAndDestination',
    reversible: wanted.reversible,
    verifies,
    sharesDestination: scope.sharesDestination,
    skipDiskSpaceCheck,
    buildIndexes: wanted.buildIndexes,
    isBuilt: (spec: OrderedDoc) => isBuilt(wanted.buildIndexes, spec),
    namespaceRemap: wanted.namespaceRemap,
    copyInNaturalOrder: wanted.copyInNaturalOrder,
    documentFilter: wanted.documentFilter,
    sharding: wanted.sharding,
  };
  return preflight(source, destination, checks, signal);
}

/** A reversal takes the metadata to the source, where what another migration has left would be in its way. */
function onReversal(existing: Finding, source: Cluster, db: string): Finding {
  const remedy = `Give this migration a --migrationName of its own, or drop ${db} there if the other one is over.`;
  const description = `a reversal would need ${db} on ${source.label}, but that database holds the metadata of another migration`;
  return { ...existing, description, remedy };
}
