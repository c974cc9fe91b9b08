/** Applies one share of the changes of a stretch: what one of several instances does of them, beside the others. */
import type { Doc } from '../bson/bson.js';
import { Position, type ReachedPosition } from '../bson/position.js';
import { uuidFrom } from '../bson/uuid.js';
import { CRUD, type Scope } from '../catalog/scope.js';
import { type ChangeEvent, isAfter, isCrud, parseEvent, positionOf, saysNothing } from '../documents/change-event.js';
import type { ChangeBatch, ChangeSource } from '../documents/change-source.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import { timeOf } from '../threads/seen-times.js';
import type { PlainTime } from '../threads/thread-calls.js';
import type { ApplyWindow } from './apply-window.js';
import type { Lanes } from './lanes.js';
import { type AppliedCollection, operationOf } from './operation.js';
import { isDeltaRefusal } from './raw-deltas.js';

const AWAIT_MS = 250;

/** One share of a stretch. Plain data. */
export interface ShareTask {
  /** The text of the position where the stretch begins. */
  readonly from: string;
  /** The time up to which it goes at most. */
  readonly until: PlainTime;
  /** 0 to `of` - 1. */
  readonly share: number;
  readonly of: number;
  readonly rawDeltas: boolean;
  /** Of share 0: the UUIDs, in hexadecimal, of the collections that are not divided. */
  readonly undivided: readonly string[];
  /** Another one whenever the stored collections may have changed. */
  readonly catalog: string;
}

/** What was done of a share. Plain data. */
export interface ShareEnd {
  /** The text of the position up to which everything of the share is on the destination. */
  readonly position: string;
  readonly isBetween: boolean;
  /** Document changes applied. */
  readonly events: number;
}

/** How far a share is: everything of it up to there is on the destination. Plain data. */
export type SharePlace = ShareEnd;

/** One reply on its way; `place` is behind it, once it is known that all of it belongs to the share. */
export interface ShareReply {
  place: SharePlace | undefined;
}

/** Finds where a document change goes: as EventTargets. */
export interface ShareTargets {
  readonly of: (event: ChangeEvent, signal: AbortSignal) => Promise<AppliedCollection | undefined>;
}

/** What a share is applied with. */
export interface ShareContext {
  readonly changes: ChangeSource;
  readonly scope: Pick<Scope, 'stages'>;
  readonly filter: DocumentFilter | undefined;
  readonly targets: ShareTargets;
  readonly lanes: Lanes;
  /** Of this share alone. */
  readonly window: ApplyWindow<ShareReply>;
  /** Told from time to time, in order. */
  readonly onPlace: (place: SharePlace) => void;
  readonly onReply: (ms: number, bytes: number) => void;
}

/** Whether one share gets all of a collection: its order is data, or different `_id`s may be one. */
export function isUndivided({ capped, collated }: Pick<MigratedCollection, 'capped' | 'collated'>): boolean {
  return capped || collated;
}

/**
 * The stage that leaves of a change stream what one share needs: the document changes whose `_id` has its hash, all of
 * the undivided collections for share 0, and whatever is no document change, at which every share ends.
 *
 * The hash is that of a hashed index, which is one for all numbers that are equal. A remainder has the sign of the hash.
 * Source: MongoDB manual, "$toHashedIndexKey"; tried on 6.0.5.
 */
export function shareStage({ share, of, undivided }: Pick<ShareTask, 'share' | 'of' | 'undivided'>): Doc {
  const remainder = { $mod: [{ $toHashedIndexKey: '$documentKey._id' }, of] };
  const uuids = undivided.map((each) => uuidFrom(Buffer.from(each, 'hex')));
  return {
    $match: {
      $expr: {
        $or: [
          { $not: [{ $in: ['$operationType', CRUD] }] },
          { $in: [remainder, [share, share - of]] },
          ...(uuids.length === 0 ? [] : [{ $in: ['$collectionUUID', uuids] }]),
        ],
      },
    },
  };
}

/**
 * Applies a share of a stretch: the document changes of its own part, up to the first change that is none, or to the
 * stretch's time. Resolves once they are on the destination.
 *
 * Why it is sound to apply the parts side by side: all changes of one document are in one part and keep their order, as
 * over lanes. Whoever reads the stretch once more, from its beginning, replays every document from a state that it had
 * within it, as after a crash.
 *
 * A stream does not go on at an event that its own stages leave out (error 280; tried on 6.0.5), and the one that `from`
 * names may belong to another share. So it begins at that event's time, and what comes no later than `from` is passed over.
 */
export async function applyShare(context: ShareContext, task: ShareTask, signal: AbortSignal): Promise<ShareEnd> {
  const { changes, scope, filter, targets, lanes } = context;
  const until = timeOf(task.until);
  const pushed = new Set<string>();
  const from = Position.fromText(task.from);
  let end: ReachedPosition = { position: from, isBetween: false };
  let events = 0;
  const stages = [...scope.stages(), ...(filter === undefined ? [] : [filter.streamStage()]), shareStage(task)];
  const options = { awaitMs: AWAIT_MS, rawDeltas: task.rawDeltas, stages, onReply: context.onReply };
  let isOver = false;
  const admit = async (batch: ChangeBatch): Promise<void> => {
    const reply: ShareReply = { place: undefined };
    const bytes = batch.events.reduce((sum, each) => sum + each.length, 0);
    const markApplied = await context.window.admit(reply, bytes, signal);
    await readBatch(batch, reply, () => {
      const passed = markApplied();
      if (passed?.place !== undefined) context.onPlace(passed.place);
    });
  };
  const readBatch = async (batch: ChangeBatch, reply: ShareReply, markApplied: () => void): Promise<void> => {
    // One more than the operations, so that the batch is not applied before all of it is queued.
    let open = 1;
    const appliedOne = (): void => {
      if (--open === 0) markApplied();
    };
    for (const raw of batch.events) {
      const event = parseEvent(raw);
      if (saysNothing(event.operation) || isBehind(event, from)) continue;
      isOver = !isCrud(event.operation);
      if (isOver) break;
      const collection = await targets.of(event, signal);
      if (collection === undefined || (task.share > 0 && isUndivided(collection))) continue;
      open++;
      events++;
      pushed.add(collection.id);
      lanes.push(operationOf(event, collection, filter), appliedOne);
      end = { position: positionOf(event), isBetween: false };
    }
    // What is behind a change of the catalog is nobody's yet.
    if (!isOver && !batch.position.isAtOrBefore(end.position)) end = batch;
    if (!isOver) reply.place = { position: end.position.toText(), isBetween: end.isBetween, events };
    appliedOne();
  };
  let isReading = true;
  try {
    for await (const batch of changes.read(Position.startAt(from.time), options, signal)) {
      isReading = false;
      metrics.eventsRead.add(batch.events.length);
      await admit(batch);
      if (isOver || !batch.position.time.lessThan(until)) break;
      isReading = true;
    }
  } catch (error) {
    // Who goes on behind the share meets the refusal, too, and knows what to do.
    if (!isReading || !isDeltaRefusal(error)) throw error;
  }
  await lanes.drain([...pushed]);
  metrics.eventsApplied.add(events, { kind: 'crud' });
  return { position: end.position.toText(), isBetween: end.isBetween, events };
}

/** Whether an event comes no later than a position. */
function isBehind(event: ChangeEvent, position: Position): boolean {
  // Nearly all have another time: their tokens need not be read.
  return !isAfter(event, position.time) && positionOf(event).isAtOrBefore(position);
}
