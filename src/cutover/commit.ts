/** Carries out a commit in two halves, before and after its point of no return. */
import type { OrderedDoc, Timestamp } from '../bson/bson.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { unblockWrites } from '../cluster/write-block.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { StoredRecord } from '../metadata/stored-record.js';
import { checkCatalog, checkDestination, checkRestored, dropLostViews } from './catalog-check.js';
import { restoreAfterHandover, restoreBeforeHandover } from './restore.js';

/** The part of change event application that a commit steers. */
export interface CommitStream {
  /** Events after the time that `takeTime` takes are judged, not applied. */
  setFence(takeTime: () => Promise<Timestamp>): Promise<Timestamp>;
  reached(time: Timestamp, signal: AbortSignal): Promise<void>;
}

/** What the end of a commit works with, from the point of no return on. */
export interface HandoverContext {
  readonly destination: WritableCluster;
  readonly record: StoredRecord;
  readonly collections: CollectionMap;
  /** Whether the migration builds an index at all. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  readonly logger: Logger;
  /** Called when the destination is its applications': canWrite is true. */
  readonly onHandover: () => void;
}

/** What a commit works with. */
export interface CommitContext extends Omit<HandoverContext, 'onHandover'> {
  readonly source: Cluster;
  readonly scope: Scope;
  /** Blocks the source's users, where the migration does so. Errors: SourceNotBlocked. */
  readonly blockSource: (signal: AbortSignal) => Promise<void>;
  /** Resolves once every wanted index is built. */
  readonly indexesBuilt: (signal: AbortSignal) => Promise<void>;
  /** Whether the data is verified. */
  readonly verifies: boolean;
  /** Resolves once the destination has been proven equal as of the commit time; rejects when it is not. */
  readonly verified: (time: Timestamp, signal: AbortSignal) => Promise<void>;
  /** Resolves once it is proven that nobody has written to the destination since, up to `end`; rejects otherwise. */
  readonly untouched: (time: Timestamp, end: Timestamp, signal: AbortSignal) => Promise<void>;
  /** Brings capped collections that change events alone do not keep equal to the source's state now, after `time`. */
  readonly recopyCapped: (time: Timestamp, signal: AbortSignal) => Promise<void>;
  /** Stores how far is applied: from there a restart replays. */
  readonly checkpoint: (signal: AbortSignal) => Promise<void>;
}

/**
 * The first half of a commit: blocks the source if asked for, takes the commit time, applies up to it, compares the catalog, restores what was held
 * back, and makes sure that nobody wrote to the source meanwhile. Ends with the point of no return stored. Every step
 * is recorded and repeatable. Source: docs/07-cutover.md.
 */
export async function commitUpToHandover(
  context: CommitContext,
  stream: CommitStream,
  signal: AbortSignal,
): Promise<void> {
  const { source, destination, scope, record, collections, logger } = context;
  let time = record.value.commit?.time;
  // Once the time is taken, a write that a lifted block lets through is judged.
  if (time === undefined) {
    await context.blockSource(signal);
    // Stored before anything after it is judged: a restart must judge by the same time.
    time = await stream.setFence(async () => {
      const taken = await writeOplogNote(source, 'commit', signal);
      await record.update({ commit: { step: 'drain', time: taken } }, signal);
      return taken;
    });
    logger.info('Took the commit time', { seconds: time.getHighBitsUnsigned() });
  }
  await stream.reached(time, signal);
  await context.recopyCapped(time, signal);
  await context.indexesBuilt(signal);
  await dropLostViews(context, signal);
  await checkCatalog(source, collections, scope, signal);
  await checkDestination(destination, collections, scope, signal);
  await context.verified(time, signal);
  // What is restored next takes no replay of what came before: a capped collection of its true size would evict.
  await context.checkpoint(signal);
  await record.update({ commit: { step: 'restore', time } }, signal);
  await restoreBeforeHandover(destination, collections, context.isBuilt, signal);
  await checkRestored(destination, collections, signal);
  // Whatever was written to the source until now has been judged once the stream has passed this note.
  await stream.reached(await writeOplogNote(source, 'handover', signal), signal);
  // Of most changes of its catalog an old source's stream does not tell.
  if (!source.isAtLeast(6)) await checkCatalog(source, collections, scope, signal);
  const reverseStart = await writeOplogNote(destination, 'handover', signal);
  // Restoring takes its time, and who may pass the block could have written meanwhile.
  await context.untouched(time, reverseStart, signal);
  await checkDestination(destination, collections, scope, signal);
  const { verifies: verified } = context;
  await record.update({ commit: { step: 'handover', time, reverseStart, verified } }, signal);
}

/** The second half, from the point of no return on: the destination is unblocked, then its expiry and uniqueness return. */
export async function commitFromHandover(context: HandoverContext, signal: AbortSignal): Promise<readonly string[]> {
  const { destination, record, collections, logger } = context;
  // From here on the data is the applications': nothing of ours may still be on its way to it.
  await destination.resolveLostWrites(signal);
  if (record.value.blockedDestination) await unblockWrites(destination, signal);
  await record.update({ canWrite: true, blockedDestination: false }, signal);
  context.onHandover();
  logger.info('The destination accepts writes');
  return await restoreAfterHandover(destination, collections, context.isBuilt, signal);
}

/** Whether a stored commit is past the point of no return. */
export function isPastHandover(record: MigrationRecord): boolean {
  return record.commit?.step === 'handover';
}
