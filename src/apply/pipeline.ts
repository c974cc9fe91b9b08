/** Follows the source: reads its change stream and applies it to the destination. */

import type { Timestamp } from '../bson/bson.js';
import { type Position, secondsOf } from '../bson/position.js';
import { catalogChanged } from '../catalog/old-source.js';
import type { Cluster } from '../cluster/cluster.js';
import { DdlApplier } from '../ddl/applier.js';
import type { DdlContext } from '../ddl/context.js';
import { type ChangeEvent, isAfter, isCrud, parseEvent, saysNothing } from '../documents/change-event.js';
import type { ChangeBatch, ChangeSource } from '../documents/change-source.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { StreamPace } from '../documents/stream-pace.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { PushBack } from '../lib/push-back.js';
import { linkAbort } from '../lib/signals.js';
import type { CollectionMap } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import { queueMeters } from '../metrics-queues.js';
import { ApplyWindow } from './apply-window.js';
import type { CommitFence } from './commit-fence.js';
import { DispatchGate } from './dispatch-gate.js';
import { EventTargets } from './event-targets.js';
import type { LaneApplier } from './lane-applier.js';
import { idsOf, Lanes } from './lanes.js';
import { operationOf } from './operation.js';
import { isDeltaRefusal } from './raw-deltas.js';
import { SafePoint, type SafePosition } from './safe-point.js';
import { applyShare, type ShareEnd, type SharePlace, type ShareReply, type ShareTask } from './share.js';
import { type ShareTakers, Stretches, type StretchPlace } from './stretches.js';

/** What the application of change events works with. */
export interface ApplyContext extends Omit<DdlContext, 'copyAgain'> {
  readonly source: Cluster;
  /** The source's. */
  readonly changes: ChangeSource;
  readonly collections: CollectionMap;
  /** One per lane. */
  readonly appliers: readonly LaneApplier[];
  readonly logger: Logger;
  /** Bytes of events read and not yet safe. */
  readonly windowBytes: number;
  /** Whether both sides know the server's own update deltas. */
  readonly rawDeltas: boolean;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  /** Other instances, which help while the application is behind. */
  readonly takers: ShareTakers;
  /** Of the changes that are read. */
  readonly pace: StreamPace;
}

/** What a run of the pipeline asks of others. */
export interface ApplyHandlers extends Pick<DdlContext, 'copyAgain'> {
  /** Decides on a write that happened after the commit time: returns for ones that are expected, throws otherwise. */
  readonly onLateEvent: (event: ChangeEvent, signal: AbortSignal) => Promise<void>;
}

/** One run of the pipeline: where it begins, and what it asks of others. */
export interface ApplyRun extends ApplyHandlers {
  readonly start: Position;
  /** Applied before the start, by earlier processes. */
  readonly eventsApplied: number;
}

/** What one run works with, besides the context. */
interface Running {
  readonly ddl: DdlApplier;
  readonly targets: EventTargets;
  readonly lanes: Lanes;
  readonly onLateEvent: ApplyHandlers['onLateEvent'];
}

/** How far the pipeline is; seconds since the epoch. */
export interface ApplyStatus {
  readonly safe: SafePosition | undefined;
  readonly safeSeconds: number | undefined;
  readonly crudSeconds: number | undefined;
  readonly ddlSeconds: number | undefined;
  readonly queuedBytes: number;
  /** Document changes read by this process. */
  readonly crudRead: number;
}

const AWAIT_MS = 250;
const GATHER_MS = 60;

/**
 * Reads the source's change stream and applies it: document changes over lanes, DDL in between. The safe position moves
 * only over batches that a majority has entirely. Backpressure: the window admits a bounded number of bytes, and the
 * reader is at most one reply ahead.
 *
 * Events after the fence's time are not applied but judged by `onLateEvent`: the commit's end of the line.
 */
export class ApplyPipeline {
  readonly #context: ApplyContext;
  readonly #window: ApplyWindow<SafePosition>;
  readonly #pushBack: PushBack;
  /** Of this instance's share, while changes are applied in shares. */
  #shareWindow: ApplyWindow<ShareReply> | undefined;
  readonly #gate = new DispatchGate();
  readonly #safe = new SafePoint();
  #rawDeltas: boolean;
  readonly #fence: CommitFence;
  readonly #stretches: Stretches;
  /** Of the run; before it nothing is under way. */
  #lanes: Lanes | undefined;
  #crudSeconds: number | undefined;
  #crudRead = 0;
  #ddlSeconds: number | undefined;

  constructor(context: ApplyContext, fence: CommitFence) {
    this.#context = context;
    this.#pushBack = new PushBack({ ...queueMeters('change events'), logger: context.logger });
    this.#window = new ApplyWindow({ limitBytes: context.windowBytes, pushBack: this.#pushBack });
    this.#rawDeltas = context.rawDeltas;
    this.#fence = fence;
    this.#stretches = new Stretches(context);
  }

  get status(): ApplyStatus {
    const { position } = this.#safe;
    return {
      safe: position,
      safeSeconds: position === undefined ? undefined : secondsOf(position.position.time),
      crudSeconds: this.#crudSeconds,
      crudRead: this.#crudRead,
      ddlSeconds: this.#ddlSeconds,
      queuedBytes: this.#window.heldBytes + (this.#shareWindow?.heldBytes ?? 0),
    };
  }

  /** Applies until `signal` aborts; once. Rejects with the first failure; never with one that it caused. */
  async run({ start, eventsApplied, ...handlers }: ApplyRun, signal: AbortSignal): Promise<void> {
    const context = { ...this.#context, copyAgain: handlers.copyAgain };
    const ddl = new DdlApplier(context);
    await ddl.load(signal);
    const link = linkAbort(signal);
    const lanes = new Lanes(this.#context.appliers, link.signal);
    this.#lanes = lanes;
    const running = { ddl, targets: new EventTargets(context), lanes, onLateEvent: handlers.onLateEvent };
    const reading = this.#read(start, eventsApplied, running, link.signal);
    try {
      await Promise.race([reading, lanes.failed]);
    } finally {
      link.abort(new AppError('ShuttingDown', 'the application of change events has ended'));
      // A DDL event that is being carried out must not go on beside the next run.
      await Promise.allSettled([reading, lanes.stopped()]);
      link.dispose();
    }
  }

  /** Resolves once everything up to `time` is on the destination. */
  async reached(time: Timestamp, signal: AbortSignal): Promise<void> {
    if (!this.#safe.hasReached(time)) await this.#context.pace.during(() => this.#safe.reached(time, signal));
  }

  /**
   * Fixes the end of the line: holds the dispatcher, lets `takeTime` take a time, and judges every event after it from
   * then on. Held meanwhile, so that no event after the time can slip through before it is known.
   */
  async setFence(takeTime: () => Promise<Timestamp>): Promise<Timestamp> {
    return this.#gate.whileClosed(async () => {
      // What is read again from now on is read as of the time: nothing may be under way that looks further.
      if (this.#context.filter !== undefined) await this.#drainLanes(idsOf(this.#context.collections.live()));
      const time = await takeTime();
      this.#fence.set(time);
      return time;
    });
  }

  /** Runs `work` while nothing of these collections is being applied, or begun. */
  async withoutApplying<T>(ids: readonly string[], work: () => Promise<T>): Promise<T> {
    return this.#gate.whileClosed(async () => {
      await this.#drainLanes(ids);
      return work();
    });
  }

  async #drainLanes(ids: readonly string[]): Promise<void> {
    await this.#lanes?.drain(ids);
  }

  async #read(start: Position, eventsApplied: number, running: Running, signal: AbortSignal): Promise<void> {
    let from = start;
    let events = eventsApplied;
    let isReading = true;
    for (;;) {
      const { changes, scope, filter } = this.#context;
      const stages = [...scope.stages(), ...(filter === undefined ? [] : [filter.streamStage()])];
      const rawDeltas = this.#rawDeltas;
      isReading = true;
      const options = { rawDeltas, awaitMs: AWAIT_MS, gatherMs: GATHER_MS, stages, onReply: countRead };
      try {
        for await (const batch of changes.read(from, options, signal)) {
          events += batch.events.length;
          metrics.eventsRead.add(batch.events.length);
          isReading = false;
          await this.#gate.pass(() => this.#dispatch(batch, events, running, signal));
          isReading = true;
          from = batch.position;
          if (this.#sharesAfter(batch, running)) break;
        }
        isReading = false;
        for (let isNext = true; isNext; ) {
          await this.#gate.pass(async () => {
            [from, events, isNext] = await this.#share(from, events, running, signal);
          });
        }
      } catch (error) {
        // What the destination refuses is no answer of the source's, and a batch must not be dispatched twice.
        if (!isReading || !this.#rawDeltas || !isDeltaRefusal(error)) throw error;
        this.#context.logger.warn(
          'The source no longer sends raw update deltas; changed documents are read again instead',
        );
        this.#rawDeltas = false;
      }
    }
  }

  /** Past the fence every event is judged by one instance, and events without a UUID are found by name. */
  #sharesAfter(batch: ChangeBatch, { targets }: Running): boolean {
    return this.#fence.time === undefined && targets.idOf === undefined && this.#stretches.isDue(batch);
  }

  /**
   * Applies a stretch in shares. Resolves with where to go on, how many events have been applied in all, and whether by
   * the next stretch at once: reading the whole stream in between would have the others wait.
   */
  async #share(
    from: Position,
    events: number,
    running: Running,
    signal: AbortSignal,
  ): Promise<[Position, number, boolean]> {
    // The fence may have been set while the gate was closed.
    if (this.#fence.time !== undefined) return [from, events, false];
    await this.#drainLanes(idsOf(this.#context.collections.live()));
    let [reached, eventsApplied] = [from, events];
    const onPlace = ({ position, isBetween, events: more }: StretchPlace): void => {
      [reached, eventsApplied] = [position, events + more];
      this.#crudSeconds = secondsOf(position.time);
      this.#safe.advance({ position, isBetween, eventsApplied });
    };
    const applyOwn = (task: ShareTask, tell: (place: SharePlace) => void): Promise<ShareEnd> =>
      this.#applyOwnShare(task, tell, running, signal);
    const end = await this.#stretches.apply(from, this.#rawDeltas, { applyOwn, onPlace }, signal);
    if (end !== undefined) onPlace(end);
    return [reached, eventsApplied, end !== undefined && this.#stretches.isDueAfter(end)];
  }

  async #applyOwnShare(
    task: ShareTask,
    tell: (place: SharePlace) => void,
    { targets, lanes }: Running,
    signal: AbortSignal,
  ): Promise<ShareEnd> {
    const { changes, scope, filter, takers, windowBytes } = this.#context;
    const window = new ApplyWindow<ShareReply>({ limitBytes: windowBytes, pushBack: this.#pushBack });
    let counted = 0;
    const count = ({ events }: SharePlace): void => {
      this.#crudRead += events - counted;
      takers.countOwn(events - counted);
      counted = events;
    };
    const onPlace = (place: SharePlace): void => {
      count(place);
      tell(place);
    };
    this.#shareWindow = window;
    try {
      const context = { changes, scope, filter, targets, lanes, window, onPlace, onReply: countRead };
      const end = await applyShare(context, task, signal);
      count(end);
      return end;
    } finally {
      this.#shareWindow = undefined;
    }
  }

  async #dispatch(batch: ChangeBatch, events: number, running: Running, signal: AbortSignal): Promise<void> {
    const { ddl, targets, lanes } = running;
    const bytes = batch.events.reduce((sum, each) => sum + each.length, 0);
    const { position, isBetween } = batch;
    const markApplied = await this.#window.admit({ position, isBetween, eventsApplied: events }, bytes, signal);
    // One more than the operations, so that the batch cannot markApplied before all of it is queued.
    let open = 1;
    let crud = 0;
    const appliedOne = (): void => {
      if (--open > 0) return;
      if (crud > 0) {
        metrics.eventsApplied.add(crud, { kind: 'crud' });
        this.#context.takers.countOwn(crud);
      }
      this.#safe.advance(markApplied());
    };
    for (const raw of batch.events) {
      const event = parseEvent(raw, targets.idOf);
      if (saysNothing(event.operation)) continue;
      if (isCrud(event.operation)) this.#crudRead++;
      if (this.#fence.time !== undefined && isAfter(event, this.#fence.time)) {
        if (await ddl.wouldBeMissed(event, signal)) await judgeLate(event, running, signal);
      } else if (isCrud(event.operation)) {
        const collection = await targets.of(event, signal);
        if (collection === undefined) continue;
        open++;
        crud++;
        lanes.push(operationOf(event, collection, this.#context.filter), appliedOne);
        this.#crudSeconds = event.seconds;
      } else await this.#applyDdl(event, running, signal);
    }
    appliedOne();
  }

  async #applyDdl(event: ChangeEvent, { ddl, targets, lanes }: Running, signal: AbortSignal): Promise<void> {
    if (targets.idOf !== undefined) {
      if (!(await ddl.concerns(event, signal))) return;
      throw catalogChanged(`${event.operation} of ${event.db}${event.coll === '' ? '' : `.${event.coll}`}`);
    }
    await lanes.drain(idsOf(ddl.touched(event)));
    if (!(await ddl.apply(event, signal))) return;
    metrics.eventsApplied.add(1, { kind: 'ddl' });
    this.#ddlSeconds = event.seconds;
  }
}

/** It is judged by the destination's copy, so what comes before it must be there. */
async function judgeLate(event: ChangeEvent, { lanes, onLateEvent }: Running, signal: AbortSignal): Promise<void> {
  const ids = event.collection === undefined ? [] : [event.collection];
  await lanes.drain(ids);
  await onLateEvent(event, signal);
}

function countRead(ms: number, bytes: number): void {
  metrics.applyReadDuration.record(ms);
  metrics.eventBytesRead.add(bytes);
}
