/** Reverses a committed migration: what was the destination becomes the source. */

import { LocalLaneApplier } from '../apply/lane-applier.js';
import type { Operation } from '../apply/operation.js';
import { probeRawDeltas } from '../apply/raw-deltas.js';
import type { Refetching } from '../apply/refetch.js';
import type { OrderedDoc, Timestamp } from '../bson/bson.js';
import { documentKey } from '../bson/document-key.js';
import { Position } from '../bson/position.js';
import type { Scope } from '../catalog/scope.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import { blockWrites, unblockWrites } from '../cluster/write-block.js';
import { type BlockContext, blockSource } from '../cutover/block-source.js';
import { DocumentWriter } from '../documents/document-writer.js';
import { RawWriter } from '../documents/raw-writes.js';
import { AppError, type ErrorName, InvariantError } from '../errors.js';
import type { IndexBuilder } from '../indexes/builder.js';
import { layOutNumbers } from '../layout/lay-out-numbers.js';
import { CollectionMap, type MigratedCollection } from '../metadata/collections.js';
import { reversedMeanwhile } from '../metadata/lease-store.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord, RecordFields } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { StoredRecord } from '../metadata/stored-record.js';
import { type VerificationRecord, VerificationStore } from '../metadata/verification-store.js';
import { checkPrivileges } from '../preflight/privileges.js';
import { type HeldMigration, heldMigration, keepLease, rolesOf } from '../start/held-migration.js';
import { checkOtherMigrations } from '../start/other-migrations.js';
import { generationOf } from '../start/recover.js';
import { preflightError } from '../start/starting.js';
import { type CommittedContext, checkReversal, deletesBetween, reversedCollections } from './changes-since-commit.js';
import { holdBack } from './hold-back.js';

/** What a reversal works with: the migration as it is held, before the turn or after it. */
export interface ReversalContext extends Omit<BlockContext, 'record'> {
  readonly held: HeldMigration;
  readonly options: MigrationOptions;
  readonly scope: Pick<Scope, 'sharesDestination'>;
  readonly collections: CollectionMap;
  /** Whether the migration builds an index at all. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  /** Builds nothing here: the run that follows looks at every collection. */
  readonly indexes: Pick<IndexBuilder, 'remove'>;
  /** Whether the data is verified. */
  readonly verifies: boolean;
}

const BATCH = 500;
/** A reversible migration has no filter. */
const AS_IT_IS_NOW: Refetching = {
  filter: undefined,
  readTime: () => undefined,
  onStateGone: () => Promise.resolve(),
};

/** Errors of a reversal that come before anything has changed. */
const GIVEN_UP: ReadonlySet<ErrorName> = new Set([
  'ReverseSourceModified',
  'ReverseOplogRolledOver',
  'SourceNotBlocked',
  'MigrationExists',
  'ForeignMetadata',
  'MetadataUnreadable',
] as const);

/**
 * What stands against a reversal, before anything is changed. Errors: InvalidStateTransition when it was not started
 * `reversible`; ReverseSourceModified, ReverseOplogRolledOver, MissingPrivilege, OtherMigrationExists, MigrationExists.
 */
export async function checkReverse(context: ReversalContext, signal: AbortSignal): Promise<void> {
  const { held, options, collections } = context;
  const { record, source, destination, store } = held;
  if (!options.reversible) {
    const metadata = { state: record.value.state };
    const text = 'reverse is not permitted: the migration was not started with reversible';
    throw new AppError('InvalidStateTransition', text, { metadata });
  }
  await collections.load(signal);
  const { sharesDestination } = context.scope;
  const blocks = { blocksDestination: true, blocksSource: true };
  const needs = { ...blocks, reversible: true, verifies: context.verifies, sharesDestination };
  const reversedRoles = { source: destination, destination: source };
  const findings = await checkPrivileges(destination, source, needs, signal);
  const blockers = findings.filter((each) => each.severity === 'blocker');
  blockers.push(...(await checkOtherMigrations(options, reversedRoles, store.db, signal)));
  if (blockers.length > 0) throw preflightError(blockers);
  await refuseOccupied(new MetadataReader(source, store.db), generationOf(record.value), signal);
  await checkReversal(committed(context), signal);
}

/**
 * The first half of a reversal, on the cluster that has been the destination: the old source is blocked (again) and
 * looked at once more, then the migration's record moves there, one generation higher. That record decides from the
 * moment it is there: everything before is repeated by a restart, nothing of it afterwards. Resolves with the migration
 * as it is held then. Errors: as `checkReverse`, and SourceNotBlocked; the migration is then as it was.
 */
export async function leaveForReversal(
  context: ReversalContext,
  onLeaseLost: (error: unknown) => void,
  signal: AbortSignal,
): Promise<HeldMigration> {
  const { held, collections: before, logger } = context;
  await before.load(signal);
  const wasSet = await blockSource({ ...context, record: held.record }, held.source, signal);
  let until: Timestamp;
  try {
    until = await checkReversal(committed(context), signal);
  } catch (error) {
    if (wasSet && isGivenUp(error)) await unblockWrites(held.source, signal);
    throw error;
  }
  const roles = rolesOf(held.destination, held.source, { db: held.store.db, logger, instance: held.instance });
  await roles.lease.take(signal);
  const stopKeeping = keepLease(roles.lease, onLeaseLost, signal);
  try {
    const turned = heldMigration(roles, reversedRecord(held.record.value, until));
    await refuseOccupied(roles.store, generationOf(held.record.value), signal);
    await roles.store.dropAll(signal);
    await roles.store.claim(signal);
    const collections = new CollectionMap(roles.store);
    await collections.add(reversedCollections(before, context.isBuilt), signal);
    for (const view of before.views()) await collections.putView(view, signal);
    const equal = equalSince(held.record.value);
    if (context.verifies && equal !== undefined) await new VerificationStore(roles.store).save(equal, signal);
    await turned.record.create(signal);
    await held.record.update({ moved: true }, signal);
    return turned;
  } finally {
    stopKeeping();
  }
}

/**
 * Nothing that counts may be where the metadata goes: a process that waited for the lease must not undo what the one
 * before it has done, nor a reversal forget another migration.
 */
async function refuseOccupied(store: MetadataReader, generation: number, signal: AbortSignal): Promise<void> {
  const there = await store.loadMigration(signal);
  if (there === undefined || there.moved === true) return;
  if (generationOf(there) > generation) throw reversedMeanwhile();
  throw new AppError(
    'MigrationExists',
    `a reversal needs ${store.db} on the old source, but that database holds the metadata of another migration; drop it there if that migration is over`,
  );
}

/** Whether an error ends the reversal only, and leaves the migration committed and usable. */
export function isGivenUp(error: unknown): error is AppError {
  return error instanceof AppError && GIVEN_UP.has(error.code);
}

/**
 * The second half, under the new lease: what was the source is made what a fresh destination is, in place. Repeatable.
 * Resolves with what the record needs for the changes of the new source to be applied.
 */
export async function arriveReversed(
  context: ReversalContext,
  signal: AbortSignal,
): Promise<Required<Pick<RecordFields, 'rawDeltas' | 'copyEndTime'>>> {
  const { held, collections, logger } = context;
  const { source, destination, store } = held;
  const refused = await layOutNumbers(destination, store.db, signal);
  if (refused !== undefined) logger.warn(refused);
  // Again, should the process have ended before it was done.
  await leaveBehind(new MetadataStore(source, store.db), signal);
  await collections.load(signal);
  await blockWrites(destination, signal);
  await holdBack(destination, collections, context.isBuilt, signal);
  await putBack(context, signal);
  const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
    probeRawDeltas({ source, destination, db: store.db }, signal),
  );
  return { rawDeltas, copyEndTime: await writeOplogNote(source, 'reversed', signal) };
}

/** Marks the record on the old destination, where there still is one, as the one that no longer counts. */
async function leaveBehind(store: MetadataStore, signal: AbortSignal): Promise<void> {
  const left = await store.loadMigration(signal);
  if (left !== undefined && left.moved !== true) await new StoredRecord(store, left).update({ moved: true }, signal);
}

/** Documents that expired on the new destination while nobody blocked it: the new source may have them still. */
async function putBack(context: ReversalContext, signal: AbortSignal): Promise<void> {
  const { held, collections, indexes, logger } = context;
  const { source, destination, record, store } = held;
  const times = record.value.putBack;
  if (times === undefined) return;
  const byUuid = new Map<string, MigratedCollection>();
  for (const each of collections.live())
    if (each.destinationUuid !== undefined) byUuid.set(Buffer.from(each.destinationUuid.buffer).toString('hex'), each);
  const raw = await RawWriter.create(destination, store.db, signal);
  const writer = new DocumentWriter(destination, raw, (target, inner) => indexes.remove(target.uuid, inner));
  const applier = new LocalLaneApplier(source, writer, logger, AS_IT_IS_NOW);
  let batch: Operation[] = [];
  for await (const event of deletesBetween(destination, times, logger, signal)) {
    const collection = event.collection === undefined ? undefined : byUuid.get(event.collection);
    const { id, key } = event;
    if (collection === undefined || id === undefined || key === undefined) continue;
    batch.push({ collection, kind: 'refetch', id, wholeKey: key, key: documentKey(key), content: undefined });
    if (batch.length < BATCH) continue;
    await applier.apply(batch, signal);
    batch = [];
  }
  if (batch.length > 0) await applier.apply(batch, signal);
}

/**
 * Once the commit has proven both sides equal, only what changed since has to be compared, whichever side it is on.
 * Undefined when it has not: the verifier then compares everything.
 */
function equalSince({ commit }: MigrationRecord): VerificationRecord | undefined {
  if (commit?.verified !== true) return undefined;
  if (commit.time === undefined || commit.reverseStart === undefined)
    throw new InvariantError('the times of the commit are not stored');
  return {
    sourceStart: commit.reverseStart,
    destinationStart: commit.time,
    sourcePosition: Position.startAt(commit.reverseStart),
    destinationPosition: Position.startAt(commit.time),
    planned: true,
  };
}

function committed({ held, collections, logger }: ReversalContext): CommittedContext {
  const { source, destination, record } = held;
  const { commit } = record.value;
  if (commit?.time === undefined || commit.reverseStart === undefined)
    throw new InvariantError('the times of the commit are not stored');
  return { source, destination, collections, commitTime: commit.time, reverseStart: commit.reverseStart, logger };
}

function reversedRecord(record: MigrationRecord, until: Timestamp): MigrationRecord {
  const { options, sourceId, destinationId, commit, generation = 0, warnings, rawDeltas, startedAt } = record;
  const { stoppedBalancers } = record;
  if (commit?.time === undefined || commit.reverseStart === undefined)
    throw new InvariantError('the times of the commit are not stored');
  return {
    state: 'REVERSING',
    options: { ...options, source: options.destination, destination: options.source },
    sourceId: destinationId,
    destinationId: sourceId,
    phase: 'apply',
    startTime: commit.reverseStart,
    // Whoever set it: canWrite will have to mean that it is lifted.
    blockedDestination: true,
    generation: generation + 1,
    putBack: { from: commit.time, until },
    canWrite: false,
    eventsApplied: 0,
    rawDeltas,
    warnings,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(stoppedBalancers === undefined ? {} : { stoppedBalancers }),
  };
}
