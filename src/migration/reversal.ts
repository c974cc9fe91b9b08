import { documentKey } from '../apply/document-key.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import type { Operation } from '../apply/operation.js';
import { probeRawDeltas } from '../apply/raw-deltas.js';
import type { Refetching } from '../apply/refetch.js';
import type { Timestamp } from '../cluster/bson.js';
import { DocumentWriter } from '../cluster/document-writer.js';
import { writeNote } from '../cluster/notes.js';
import { Position } from '../cluster/position.js';
import { RawWriter } from '../cluster/raw-writes.js';
import { blockWrites, unblockWrites } from '../cluster/write-block.js';
import { holdBack } from '../cutover/hold-back.js';
import { type CommittedContext, checkReversal, deletesBetween, reversedCollections } from '../cutover/reverse.js';
import { AppError, type ErrorName, InvariantError } from '../errors.js';
import { isBuilt } from '../indexes/build-mode.js';
import { IndexBuilder } from '../indexes/builder.js';
import type { Logger } from '../lib/logger.js';
import { CollectionMap, type MigratedCollection } from '../metadata/collections.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { type VerificationRecord, VerificationStore } from '../metadata/verification-store.js';
import { checkPrivileges } from '../preflight/privileges.js';
import { loadOf } from './load-level.js';
import { storedOptions } from './options.js';
import { checkOtherMigrations } from './other-migrations.js';
import { guard, keepLease, type Place, placeOf, rolesOf } from './place.js';
import { generationOf } from './recover.js';
import type { RunContext } from './run-context.js';
import { blockOf } from './source-block.js';
import { preflightError } from './starting.js';

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
export async function checkReverse(context: RunContext, signal: AbortSignal): Promise<void> {
  const { record, source, destination, collections } = context;
  if (!storedOptions(record.value).reversible) {
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
  blockers.push(...(await checkOtherMigrations(storedOptions(record.value), reversedRoles, record.store.db, signal)));
  if (blockers.length > 0) throw preflightError(blockers);
  await refuseOccupied(new MetadataStore(source, record.store.db), generationOf(record.value), signal);
  await checkReversal(committed(context), signal);
}

/** What a step of a reversal works with. */
export interface ReversalContext {
  readonly run: RunContext;
  readonly place: Place;
  readonly loadLevel: number;
  readonly logger: Logger;
  readonly onLeaseLost: (error: unknown) => void;
}

/**
 * The first half of a reversal, on the cluster that has been the destination: the old source is blocked (again) and
 * looked at once more, then the migration's record moves there, one generation higher. That record decides from the
 * moment it is there: everything before is repeated by a restart, nothing of it afterwards. Resolves with the new
 * place, its lease held. Errors: as `checkReverse`, and SourceNotBlocked; the migration is then as it was.
 */
export async function moveMigration(context: ReversalContext, signal: AbortSignal): Promise<Place> {
  const { run, place, logger } = context;
  await run.collections.load(signal);
  const wasSet = await blockOf(run, place.source, signal);
  let until: Timestamp;
  try {
    until = await checkReversal(committed(run), signal);
  } catch (error) {
    if (wasSet && isGivenUp(error)) await unblockWrites(place.source, signal);
    throw error;
  }
  const roles = rolesOf(place.destination, place.source, place.store.db, logger);
  // The record that is left behind is written by the old lease.
  place.destination.guardWrites(place.lease);
  await roles.lease.take(signal);
  const stopKeeping = keepLease(roles.lease, context.onLeaseLost, signal);
  try {
    const record = reversedRecord(run, until);
    await refuseOccupied(roles.store, generationOf(run.record.value), signal);
    await roles.store.dropAll(signal);
    await roles.store.claim(signal);
    const collections = new CollectionMap(roles.store);
    await collections.add(
      reversedCollections(run.collections, (spec) => isBuilt(run.buildIndexes, spec)),
      signal,
    );
    for (const view of run.collections.views()) await collections.putView(view, signal);
    const equal = equalSince(run.record.value);
    if (run.verifies && equal !== undefined) await new VerificationStore(roles.store).save(equal, signal);
    await roles.store.createMigration(record, signal);
    await place.store.updateMigration({ moved: true }, signal);
    return placeOf(roles, record);
  } finally {
    stopKeeping();
  }
}

/**
 * Nothing that counts may be where the metadata goes: a process that waited for the lease must not undo what the one
 * before it has done, nor a reversal forget another migration.
 */
async function refuseOccupied(store: MetadataStore, generation: number, signal: AbortSignal): Promise<void> {
  const there = await store.loadMigration(signal);
  if (there === undefined || there.moved === true) return;
  if (generationOf(there) > generation)
    throw new AppError('LeaseLost', 'another process has reversed the migration meanwhile; restart to follow it');
  throw new AppError(
    'MigrationExists',
    `a reversal needs ${store.db} on the old source, which holds the metadata of another migration; drop it there if that one is over`,
  );
}

/** Whether an error ends the reversal only, and leaves the migration committed and usable. */
export function isGivenUp(error: unknown): error is AppError {
  return error instanceof AppError && GIVEN_UP.has(error.code);
}

/**
 * The second half, at the new place: what was the source is made what a fresh destination is, in place. Repeatable.
 * Resolves with what the record needs for the changes of the new source to be applied.
 */
export async function prepareDestination(
  context: ReversalContext,
  signal: AbortSignal,
): Promise<Pick<MigrationRecord, 'rawDeltas' | 'copyEndTime'>> {
  const { run, place } = context;
  const { source, destination, record } = place;
  guard(place);
  // Again, should the process have ended before it was done.
  await new MetadataStore(source, place.store.db).updateMigration({ moved: true }, signal);
  await run.collections.load(signal);
  await blockWrites(destination, signal);
  await holdBack(destination, run.collections, (spec) => isBuilt(run.buildIndexes, spec), signal);
  await putBack(context, signal);
  const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
    probeRawDeltas({ source, destination, db: record.store.db }, signal),
  );
  return { rawDeltas, copyEndTime: await writeNote(source, 'reversed', signal) };
}

/** Documents that expired on the new destination while nobody blocked it: the new source may have them still. */
async function putBack(context: ReversalContext, signal: AbortSignal): Promise<void> {
  const { run, place, logger } = context;
  const { source, destination, record } = place;
  const times = record.value.putBack;
  if (times === undefined) return;
  const byUuid = new Map<string, MigratedCollection>();
  for (const each of run.collections.live())
    if (each.destinationUuid !== undefined) byUuid.set(Buffer.from(each.destinationUuid.buffer).toString('hex'), each);
  const raw = await RawWriter.create(destination, record.store.db, signal);
  const indexes = new IndexBuilder({
    destination,
    collections: run.collections,
    logger,
    wants: (spec) => isBuilt(run.buildIndexes, spec),
    parallelBuilds: loadOf(context.loadLevel).parallelBuilds,
    // Nothing is built here: the run that follows looks at every collection.
    caughtUp: () => Promise.resolve(),
    onWarning: run.onWarning,
  });
  const writer = new DocumentWriter(destination, raw, (target, inner) => indexes.remove(target.uuid, inner));
  const applier = new LocalLaneApplier(source, writer, logger, AS_IT_IS_NOW);
  let batch: Operation[] = [];
  for await (const event of deletesBetween(destination, times, logger, signal)) {
    const collection = event.collection === undefined ? undefined : byUuid.get(event.collection);
    if (collection === undefined || event.id === undefined) continue;
    const { id } = event;
    batch.push({ collection, kind: 'refetch', id, key: documentKey(id), content: undefined });
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

function committed(context: RunContext): CommittedContext {
  const { source, destination, collections, record, logger } = context;
  const { commit } = record.value;
  if (commit?.time === undefined || commit.reverseStart === undefined)
    throw new InvariantError('the times of the commit are not stored');
  return { source, destination, collections, commitTime: commit.time, reverseStart: commit.reverseStart, logger };
}

function reversedRecord({ record }: RunContext, until: Timestamp): MigrationRecord {
  const { options, sourceId, destinationId, commit, generation = 0, warnings, rawDeltas, startedAt } = record.value;
  if (commit?.time === undefined || commit.reverseStart === undefined)
    throw new InvariantError('the times of the commit are not stored');
  return {
    state: 'REVERSING',
    options: { ...options, source: options['destination'], destination: options['source'] },
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
  };
}
