/** Stores a new migration so that a crash in between leaves either a whole one or none. */
import { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { blockWrites, isBlocked, unblockWrites } from '../cluster/write-block.js';
import { AppError, ERRORS, type ErrorName } from '../errors.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import type { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import type { StoredRecord } from '../metadata/stored-record.js';
import { checkDestinationNamespaces, checkEmpty, listMigrated } from '../preflight/destination-namespaces.js';
import { blocker, type Finding } from '../preflight/finding.js';
import { blockedAlready } from '../preflight/write-blocks.js';
import type { HeldMigration, Roles } from './held-migration.js';
import { checkOtherMigrations } from './other-migrations.js';
import { isUnreadable } from './recover.js';

/** The record of a migration that begins now. */
export function newRecord(
  options: MigrationOptions,
  source: Cluster,
  destination: Cluster,
  warnings: readonly string[],
): MigrationRecord {
  return {
    state: 'RUNNING',
    options,
    sourceId: source.facts.setId,
    destinationId: destination.facts.setId,
    starting: true,
    phase: 'initialise',
    blockedDestination: false,
    canWrite: false,
    eventsApplied: 0,
    rawDeltas: false,
    warnings,
    startedAt: new Date(),
  };
}

export function blocksDestination(options: Pick<MigrationOptions, 'writeBlocking'>): boolean {
  return options.writeBlocking !== 'none';
}

/** A migration on the destination, whichever process began it, or what another tool has left there. */
export async function checkMetadata(store: MetadataReader, signal: AbortSignal): Promise<Finding | undefined> {
  try {
    const record = await store.loadMigration(signal);
    if (record !== undefined && record.starting !== true) return migrationExists(record.state, store.db);
    await store.refuseNewerTools(signal);
    return undefined;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return blocker(error.code, error.message, 'Find out what wrote it before you drop anything.');
  }
}

/** The finding that there is a migration already. */
export function migrationExists(state: string, db: string): Finding {
  const remedy = `To go on with it, restart mongoferry with the same clusters. To start again, drop what it has migrated and the database ${db} on the destination.`;
  return blocker('MigrationExists', `the destination holds a migration that is ${state}`, remedy);
}

/**
 * Stores a new migration as one that is starting, and blocks the destination's users. `recheck` looks for what is in the
 * way again, under the block and with the record there to see: neither a write nor another migration may slip in
 * between. A process that finds a migration so undoes it: only the removal of `starting` makes it one. Errors:
 * MigrationExists when a record is there already; those of the blockers that `recheck` finds.
 */
export async function prepareStart(
  held: HeldMigration,
  blocks: boolean,
  recheck: () => Promise<readonly Finding[]>,
  signal: AbortSignal,
): Promise<void> {
  const { store, record, destination } = held;
  const there = await store.loadMigration(signal);
  if (there !== undefined && there.starting !== true) {
    throw new AppError(
      'MigrationExists',
      `the destination holds the metadata of another migration; restart mongoferry to go on with it, or drop the database ${store.db}`,
    );
  }
  // Of a process that has ended while this one waited for its lease: only its record tells that the block is its own.
  if (there !== undefined) await undoStart(held, signal);
  await record.create(signal);
  if (blocks) await block({ record, destination, db: store.db }, signal);
  const found = await recheck();
  if (found.length > 0) throw preflightError(found);
}

interface Blocking {
  readonly record: StoredRecord;
  readonly destination: WritableCluster;
  /** The metadata database. */
  readonly db: string;
}

/**
 * Makes sure that the block lets this process pass. Without access control that is for a field of each command to say, which
 * a mongos must hand on to its shards. Errors: OptionNotSupported; the block is lifted then.
 */
async function requirePassage({ record, destination, db }: Blocking, signal: AbortSignal): Promise<void> {
  if (!destination.isSharded || destination.facts.user !== '') return;
  try {
    await destination.write(db, { insert: 'probe', documents: [{ _id: 'block' }] }, { signal });
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'WritesBlocked') throw error;
    await unblockWrites(destination, signal);
    await record.update({ blockedDestination: false }, signal);
    const what = `users' writes on ${destination.label} cannot be blocked: it has no access control, and its mongos does not let mongoferry pass the block`;
    throw preflightError([
      blocker('OptionNotSupported', what, 'Switch on access control, or start with enableUserWriteBlocking "none".'),
    ]);
  }
}

/** The record says so before it is done: whoever undoes the start lifts it. One that somebody else has set stays. */
async function block({ record, destination, db }: Blocking, signal: AbortSignal): Promise<void> {
  if (await isBlocked(destination, signal)) throw preflightError([blockedAlready(destination)]);
  await record.update({ blockedDestination: true }, signal);
  let isOurs = false;
  await blockWrites(destination, signal, () => {
    isOurs = true;
  });
  if (isOurs) return requirePassage({ record, destination, db }, signal);
  await record.update({ blockedDestination: false }, signal);
  throw preflightError([blockedAlready(destination)]);
}

/** Undoes a start that is not complete, from wherever it was left. Precondition: the lease is held. */
export async function undoStart({ store, destination }: Roles, signal: AbortSignal): Promise<void> {
  await destination.resolveLostWrites(signal);
  const record = await store.loadMigration(signal);
  if (record !== undefined && record.starting !== true) return;
  if (record?.blockedDestination === true) await unblockWrites(destination, signal);
  await store.dropAll(signal);
}

/** The destination's data and other migrations that stand against a start. */
export async function recheck(
  roles: { readonly source: Cluster; readonly destination: Cluster },
  options: MigrationOptions,
  ownDb: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { source, destination } = roles;
  const scope = new Scope(source, options);
  const others = await checkOtherMigrations(options, roles, ownDb, signal);
  const inTheWay = scope.sharesDestination
    ? await checkDestinationNamespaces(await listMigrated(source, scope, signal), destination, scope, signal)
    : await checkEmpty(destination, signal);
  return [...others, ...inTheWay];
}

/** Errors: OptionsDiffer, naming each option of a repeated `start` that is not as the migration has it. */
export function refuseOtherOptions(wanted: MigrationOptions, record: MigrationRecord, state: State): void {
  // A reversal has exchanged the two; a runbook goes on giving what the migration was started with.
  const isDirection = (name: string): boolean => name === 'source' || name === 'destination';
  const stored = new Map<string, unknown>(Object.entries(record.options));
  const differing = Object.entries(wanted).filter(
    ([name, value]) =>
      JSON.stringify(stored.get(name)) !== JSON.stringify(value) &&
      !(isDirection(name) && (record.generation ?? 0) > 0),
  );
  if (differing.length === 0) return;
  const text = differing.map(
    ([name, value]) => `${requestName(name)} is ${JSON.stringify(stored.get(name))}, not ${JSON.stringify(value)}`,
  );
  const message = `a migration with different options is ${state}: ${text.join('; ')}`;
  throw new AppError('OptionsDiffer', message, { metadata: { state } });
}

/** The name that a resolved option has in a start request. */
function requestName(option: string): string {
  return option === 'writeBlocking' ? 'enableUserWriteBlocking' : option;
}

/** The error of a refused start: the first blocker's name; all of them in the text. */
export function preflightError(blockers: readonly Finding[]): AppError {
  const [first, ...others] = blockers;
  const text = (each: Finding | undefined): string => `${each?.description}. ${each?.remedy}`;
  const more = others.map((each) => ` Also ${each.name}: ${text(each)}`).join('');
  const metadata = { findings: blockers.map((each) => each.name).join(',') };
  return new AppError(nameOf(first), `${text(first)}${more}`, { metadata });
}

function nameOf(finding: Finding | undefined): ErrorName {
  return finding !== undefined && finding.name in ERRORS ? (finding.name as ErrorName) : 'Internal';
}
