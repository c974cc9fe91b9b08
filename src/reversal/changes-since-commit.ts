/** Decides whether a committed migration can be reversed: nobody may have written to the old source. */

import type { Doc, OrderedDoc, Timestamp } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import { uuidFrom, uuidText } from '../bson/uuid.js';
import { isIgnored, nsText } from '../catalog/namespace.js';
import type { ShardKey } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import { traceOfExpiry } from '../cutover/late-events.js';
import { type ChangeEvent, isAfter, namespaceOf, parseEvent } from '../documents/change-event.js';
import { readChanges } from '../documents/change-stream.js';
import { AppError, InvariantError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap, MigratedCollection, NewCollection } from '../metadata/collections.js';

const AWAIT_MS = 100;
/** More deletes of documents that live on elsewhere are no expiry worth telling from writes. */
const MAX_DOUBTFUL = 100_000;

/** Cluster times; the later one is inclusive. */
export interface Times {
  readonly from: Timestamp;
  readonly until: Timestamp;
}

/** A committed migration that is to be turned around; source and destination as they were until then. */
export interface CommittedContext {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly collections: CollectionMap;
  readonly commitTime: Timestamp;
  /** Where the destination's own changes begin. */
  readonly reverseStart: Timestamp;
  readonly logger: Logger;
}

/**
 * Makes sure that the old source is still as it was at the commit time, and that the changes of the new one can be read
 * from the hand-over on. Resolves with the time up to which the old source was looked at.
 * Errors: ReverseSourceModified, ReverseOplogRolledOver; nothing has changed then. Source: docs/07-cutover.md.
 */
export async function checkReversal(context: CommittedContext, signal: AbortSignal): Promise<Timestamp> {
  const until = await checkOldSource(context, signal);
  const { destination, reverseStart, logger } = context;
  for await (const _ of changes(destination, reverseStart, [], logger, signal)) break;
  return until;
}

async function checkOldSource(context: CommittedContext, signal: AbortSignal): Promise<Timestamp> {
  const { source, commitTime, logger } = context;
  const until = await writeOplogNote(source, 'reverse', signal);
  const doubtful = new Map<string, ChangeEvent>();
  for await (const event of changesBetween(source, { from: commitTime, until }, [], logger, signal)) {
    const { id, collection } = event;
    const verdict = await judge(context, event, signal);
    if (verdict === 'foreign' || doubtful.size >= MAX_DOUBTFUL) throw modified(context, event);
    if (verdict === 'doubtful' && id !== undefined) doubtful.set(documentText(collection, id), event);
  }
  if (doubtful.size > 0) await resolveDoubts(context, doubtful, signal);
  return until;
}

type Verdict = 'expected' | 'doubtful' | 'foreign';

/** Only expiry is expected. A document that was changed on the other side since may have been expired here. */
async function judge(context: CommittedContext, event: ChangeEvent, signal: AbortSignal): Promise<Verdict> {
  if (isIgnored(namespaceOf(event))) return 'expected';
  const collection = event.collection === undefined ? undefined : context.collections.get(event.collection);
  if (event.operation !== 'delete' || collection === undefined || event.id === undefined) return 'foreign';
  const trace = await traceOfExpiry(context.destination, collection, event.id, event.seconds, signal);
  if (trace === 'none') return 'foreign';
  return trace === 'current' ? 'doubtful' : 'expected';
}

/** Whoever has not been changed on the new source since the hand-over was not expired on the old one either. */
async function resolveDoubts(
  context: CommittedContext,
  doubtful: Map<string, ChangeEvent>,
  signal: AbortSignal,
): Promise<void> {
  const { destination, reverseStart, collections, logger } = context;
  const times = { from: reverseStart, until: await writeOplogNote(destination, 'reverse', signal) };
  const oldIds = new Map<string, string>();
  for (const { id, destinationUuid } of collections.live())
    if (destinationUuid !== undefined) oldIds.set(uuidText(destinationUuid), id);
  const stages = [
    { $match: { operationType: { $in: ['insert', 'update', 'replace'] } } },
    { $project: { fullDocument: 0, updateDescription: 0 } },
  ];
  for await (const { collection = '', id } of changesBetween(destination, times, stages, logger, signal)) {
    if (id !== undefined) doubtful.delete(documentText(oldIds.get(collection), id));
  }
  for (const event of doubtful.values()) throw modified(context, event);
}

/** The two sides may be sharded by different keys: only the `_id` is the same on both. */
function documentText(collection: string | undefined, id: Buffer): string {
  return `${collection} ${id.toString('latin1')}`;
}

function modified({ source }: CommittedContext, event: ChangeEvent): AppError {
  return new AppError(
    'ReverseSourceModified',
    `${event.operation} of ${nsText(namespaceOf(event))} on ${source.label} after the commit: that cluster has changed since, so the migration cannot be reversed. Start a new migration in the other direction, into an empty cluster`,
  );
}

/** The deletes on a cluster between two times, with the collections they are of. */
export async function* deletesBetween(
  cluster: Cluster,
  times: Times,
  logger: Logger,
  signal: AbortSignal,
): AsyncGenerator<ChangeEvent> {
  for await (const event of changesBetween(cluster, times, [], logger, signal))
    if (event.operation === 'delete' && !isIgnored(namespaceOf(event))) yield event;
}

async function* changesBetween(
  cluster: Cluster,
  { from, until }: Times,
  stages: readonly Doc[],
  logger: Logger,
  signal: AbortSignal,
): AsyncGenerator<ChangeEvent> {
  for await (const batch of changes(cluster, from, stages, logger, signal)) {
    for (const raw of batch.events) {
      const event = parseEvent(raw);
      if (isAfter(event, until)) return;
      yield event;
    }
    if (batch.position.time.greaterThanOrEqual(until)) return;
  }
}

async function* changes(
  cluster: Cluster,
  from: Timestamp,
  stages: readonly Doc[],
  logger: Logger,
  signal: AbortSignal,
): ReturnType<typeof readChanges> {
  const options = { start: Position.startAt(from), rawDeltas: false, logger, awaitMs: AWAIT_MS, stages };
  try {
    yield* readChanges(cluster, options, signal);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'OplogRolledOver') throw error;
    throw new AppError(
      'ReverseOplogRolledOver',
      `the oplog of ${cluster.label} no longer reaches back to the commit, so the migration cannot be reversed. Start a new migration in the other direction, into an empty cluster`,
      { cause: error },
    );
  }
}

/**
 * The collections of the reversed migration: what was the destination is known by its UUIDs, and written to is what was
 * the source. Indexes that the migration did not build stay where they are: each side's own.
 */
export function reversedCollections(
  collections: CollectionMap,
  isBuilt: (spec: OrderedDoc) => boolean,
): NewCollection[] {
  return collections.live().map((each) => reversed(each, isBuilt));
}

function reversed(each: MigratedCollection, isBuilt: (spec: OrderedDoc) => boolean): NewCollection {
  if (each.destinationUuid === undefined) throw new InvariantError(`${nsText(each.ns)} has no UUID on the destination`);
  const { ns, options, indexes, kept = [] } = each;
  return {
    id: uuidText(each.destinationUuid),
    ns,
    // Names are the same on both sides: what is remapped cannot be reversed.
    sourceNs: ns,
    destinationUuid: uuidFrom(Buffer.from(each.id, 'hex')),
    options,
    indexes: [...indexes.filter(isBuilt), ...kept],
    kept: indexes.filter((spec) => !isBuilt(spec)),
    shardKeys: each.shardKeys && { source: plainly(each.shardKeys.destination), destination: each.shardKeys.source },
    dropped: false,
    copy: { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 },
  };
}

/** As it lies on a destination, whose servers were not asked to keep the key's values unique: an index of its own does. */
function plainly(shardKey: ShardKey | undefined): ShardKey | undefined {
  return shardKey && { ...shardKey, unique: false };
}
