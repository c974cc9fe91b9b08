import { Timestamp } from '../cluster/bson.js';
import { findByUuid } from '../cluster/catalog.js';
import { type ChangeBatch, readChanges } from '../cluster/change-stream.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../cluster/document-filter.js';
import { Code, codeOf } from '../cluster/errors.js';
import { type Namespace, nsText } from '../cluster/namespace.js';
import { catalogChanged } from '../cluster/old-source.js';
import { type StreamStart, type Token, tokenTime } from '../cluster/position.js';
import { uuidFrom } from '../cluster/raw-writes.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import { ApplyWindow } from './apply-window.js';
import { DdlApplier, type DdlContext } from './ddl.js';
import { type ChangeEvent, isAfter, isCrud, namespaceOf, parseEvent } from './event.js';
import type { LaneApplier } from './lane-applier.js';
import { idsOf, Lanes } from './lanes.js';
import { operationOf } from './operation.js';

/** A point up to which everything is on the destination. */
export interface SafePosition {
  readonly token: Token;
  /** Change events applied up to it, earlier processes included. */
  readonly eventsApplied: number;
}

/** What the application of change events works with. */
export interface ApplyContext extends DdlContext {
  readonly source: Cluster;
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
  /** Decides on a write that happened after the commit time: returns for ones that are expected, throws otherwise. */
  readonly onLateEvent: (event: ChangeEvent, signal: AbortSignal) => Promise<void>;
}

/** How far the pipeline is; seconds since the epoch. */
export interface ApplyStatus {
  readonly safe: SafePosition | undefined;
  readonly safeSeconds: number | undefined;
  readonly crudSeconds: number | undefined;
  readonly ddlSeconds: number | undefined;
  readonly queuedBytes: number;
}

const AWAIT_MS = 250;

interface Position {
  readonly token: Token;
  readonly events: number;
  readonly isBetween: boolean;
}

/**
 * Reads the source's change stream and applies it: document changes over lanes, DDL in between. The safe position moves
 * only over batches that a majority has entirely. Backpressure: the window admits a bounded number of bytes, and the
 * reader is at most one reply ahead.
 *
 * `fence`: events after that cluster time are not applied but judged by `onLateEvent`: the commit's end of the line.
 */
export class ApplyPipeline {
  readonly #context: ApplyContext;
  readonly #ddl: DdlApplier;
  readonly #window: ApplyWindow<Position>;
  readonly #unknown = new Set<string>();
  readonly #idOf: ((ns: Namespace) => string | undefined) | undefined;
  #rawDeltas: boolean;
  #fence: Timestamp | undefined;
  #held: { readonly released: Promise<void>; readonly release: () => void } | undefined;
  #lanes: Lanes | undefined;
  #dispatching = false;
  #idle: (() => void)[] = [];
  #safe: SafePosition | undefined;
  #safeIsBetween = false;
  #crudSeconds: number | undefined;
  #ddlSeconds: number | undefined;
  #listeners = new Set<() => void>();

  constructor(context: ApplyContext, fence: Timestamp | undefined) {
    this.#context = context;
    this.#ddl = new DdlApplier(context);
    this.#window = new ApplyWindow({ limitBytes: context.windowBytes });
    this.#rawDeltas = context.rawDeltas;
    this.#fence = fence;
    this.#idOf = context.source.isAtLeast(6) ? undefined : namesOnSource(context.collections);
  }

  /** The end of the line, once it is fixed. */
  get fence(): Timestamp | undefined {
    return this.#fence;
  }

  get status(): ApplyStatus {
    return {
      safe: this.#safe,
      safeSeconds: this.#safe === undefined ? undefined : tokenTime(this.#safe.token).getHighBitsUnsigned(),
      crudSeconds: this.#crudSeconds,
      ddlSeconds: this.#ddlSeconds,
      queuedBytes: this.#window.heldBytes,
    };
  }

  /** Applies until `signal` aborts. Rejects with the first failure; never with one that it caused. */
  async run(start: StreamStart, eventsApplied: number, signal: AbortSignal): Promise<void> {
    await this.#ddl.load(signal);
    const link = linkAbort(signal);
    const lanes = new Lanes(this.#context.appliers, link.signal);
    this.#lanes = lanes;
    const reading = this.#read(start, eventsApplied, lanes, link.signal);
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
    while (!this.#hasReached(time)) await this.#nextSafe(signal);
  }

  #hasReached(time: Timestamp): boolean {
    if (this.#safe === undefined) return false;
    const safe = tokenTime(this.#safe.token);
    return safe.greaterThan(time) || (this.#safeIsBetween && safe.equals(time));
  }

  /**
   * Fixes the end of the line: holds the dispatcher, lets `takeTime` take a time, and judges every event after it from
   * then on. Held meanwhile, so that no event after the time can slip through before it is known.
   */
  async setFence(takeTime: () => Promise<Timestamp>): Promise<Timestamp> {
    return this.#whileHeld(async () => {
      // What is read again from now on is read as of the time: nothing may be under way that looks further.
      if (this.#context.filter !== undefined) await this.#drainLanes(idsOf(this.#context.collections.live()));
      this.#fence = await takeTime();
      return this.#fence;
    });
  }

  /** Runs `work` while nothing of these collections is being applied, or begun. */
  async withoutApplying<T>(ids: readonly string[], work: () => Promise<T>): Promise<T> {
    return this.#whileHeld(async () => {
      await this.#drainLanes(ids);
      return work();
    });
  }

  /** Holds the dispatcher between two batches. One at a time. */
  async #whileHeld<T>(work: () => Promise<T>): Promise<T> {
    while (this.#held !== undefined) await this.#held.released;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#held = { released, release };
    try {
      if (this.#dispatching) await new Promise<void>((resolve) => this.#idle.push(resolve));
      return await work();
    } finally {
      this.#held = undefined;
      release();
    }
  }

  async #drainLanes(ids: readonly string[]): Promise<void> {
    await this.#lanes?.drain(ids);
  }

  async #read(start: StreamStart, eventsApplied: number, lanes: Lanes, signal: AbortSignal): Promise<void> {
    let from = start;
    let events = eventsApplied;
    for (;;) {
      const { logger, scope, filter } = this.#context;
      const stages = [...scope.stages(), ...(filter === undefined ? [] : [filter.streamStage()])];
      const options = { start: from, rawDeltas: this.#rawDeltas, logger, awaitMs: AWAIT_MS, stages };
      try {
        for await (const batch of readChanges(this.#context.source, options, signal)) {
          events += batch.events.length;
          await this.#dispatch(batch, events, lanes, signal);
          from = { token: batch.token };
        }
      } catch (error) {
        const code = codeOf(error);
        if (!this.#rawDeltas || (code !== Code.UnknownField && code !== Code.UnknownPipelineStage)) throw error;
        this.#context.logger.warn(
          'The source no longer gives raw update deltas; changed documents are read again instead',
        );
        this.#rawDeltas = false;
      }
    }
  }

  async #dispatch(batch: ChangeBatch, events: number, lanes: Lanes, signal: AbortSignal): Promise<void> {
    while (this.#held !== undefined) await this.#held.released;
    this.#dispatching = true;
    try {
      const bytes = batch.events.reduce((sum, each) => sum + each.length, 0);
      const settle = await this.#window.admit(
        { token: batch.token, events, isBetween: batch.isBetween },
        bytes,
        signal,
      );
      // One more than the operations, so that the batch cannot settle before all of it is queued.
      let open = 1;
      const settleOne = (): void => {
        if (--open === 0) this.#advance(settle());
      };
      for (const raw of batch.events) {
        const event = parseEvent(raw, this.#idOf);
        if (this.#fence !== undefined && isAfter(event, this.#fence)) {
          if (await this.#ddl.wouldBeMissed(event, signal)) await this.#judgeLate(event, lanes, signal);
        } else if (isCrud(event.operation)) {
          const collection = await this.#collectionOf(event, signal);
          if (collection === undefined) continue;
          open++;
          lanes.push(operationOf(event, collection, this.#context.filter), settleOne);
          this.#crudSeconds = event.seconds;
        } else await this.#applyDdl(event, lanes, signal);
      }
      settleOne();
    } finally {
      this.#dispatching = false;
      for (const wake of this.#idle.splice(0)) wake();
    }
  }

  /** It is judged by the destination's copy, so what comes before it must be there. */
  async #judgeLate(event: ChangeEvent, lanes: Lanes, signal: AbortSignal): Promise<void> {
    const ids = event.collection === undefined ? [] : [event.collection];
    await lanes.drain(ids);
    await this.#context.onLateEvent(event, signal);
  }

  async #applyDdl(event: ChangeEvent, lanes: Lanes, signal: AbortSignal): Promise<void> {
    if (this.#idOf !== undefined) {
      if (!(await this.#ddl.concerns(event, signal))) return;
      throw catalogChanged(`${event.operation} of ${event.db}${event.coll === '' ? '' : `.${event.coll}`}`);
    }
    await lanes.drain(idsOf(this.#ddl.touched(event)));
    if (!(await this.#ddl.apply(event, signal))) return;
    metrics.eventsApplied.add(1, { kind: 'ddl' });
    this.#ddlSeconds = event.seconds;
  }

  /** The target of a document change; undefined when it is not ours to apply. */
  async #collectionOf(event: ChangeEvent, signal: AbortSignal): Promise<MigratedCollection | undefined> {
    if (event.collection === undefined && this.#idOf !== undefined) {
      if (!(await this.#context.scope.follows(namespaceOf(event), signal))) return undefined;
      throw catalogChanged(`creation of ${event.db}.${event.coll}`);
    }
    if (event.collection === undefined)
      throw new AppError('Internal', `a ${event.operation} event without collection UUID was read`);
    const collection = this.#context.collections.get(event.collection);
    if (collection !== undefined) return collection.dropped ? undefined : collection;
    if (this.#unknown.has(event.collection)) return undefined;
    if (await this.#context.scope.follows(namespaceOf(event), signal))
      await this.#mustBeGone(event, event.collection, signal);
    this.#unknown.add(event.collection);
    return undefined;
  }

  /** Neither the catalog nor a DDL event told of it: an earlier incarnation, unless it lives on the source now. */
  async #mustBeGone(event: ChangeEvent, id: string, signal: AbortSignal): Promise<void> {
    const ns = namespaceOf(event);
    const found = await findByUuid(this.#context.source, uuidFrom(Buffer.from(id, 'hex')), ns.db, signal);
    if (found !== undefined)
      throw new AppError(
        'UnsupportedChange',
        `${nsText(found)} came into being on the source without a change event, so its documents cannot be followed`,
      );
  }

  #advance(position: Position | undefined): void {
    if (position === undefined) return;
    const applied = position.events - (this.#safe?.eventsApplied ?? position.events);
    if (applied > 0) metrics.eventsApplied.add(applied, { kind: 'crud' });
    this.#safe = { token: position.token, eventsApplied: position.events };
    this.#safeIsBetween = position.isBetween;
    for (const wake of [...this.#listeners]) wake();
  }

  #nextSafe(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#listeners.delete(finish);
        signal.removeEventListener('abort', finish);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      this.#listeners.add(finish);
      signal.addEventListener('abort', finish, { once: true });
      if (signal.aborted) finish();
    });
  }
}

/** Collections by name, for sources before 6.0: their names do not change while such a migration goes on. */
function namesOnSource(collections: CollectionMap): (ns: Namespace) => string | undefined {
  const ids = new Map(collections.live().map((each) => [nsText(each.sourceNs), each.id]));
  return (ns) => ids.get(nsText(ns));
}

/** Whether both sides know the server's own update deltas. Undocumented, so it is tried rather than read off a version. */
export async function probeRawDeltas(source: Cluster, destination: Cluster, metadataDb: string): Promise<boolean> {
  const stage = { $_internalApplyOplogUpdate: { oplogUpdate: { $v: 2, diff: { u: { probe: true } } } } };
  try {
    const reply = await source.command('admin', {
      aggregate: 1,
      pipeline: [
        {
          $changeStream: {
            allChangesForCluster: true,
            showRawUpdateDescription: true,
            startAtOperationTime: source.now ?? new Timestamp({ t: 1, i: 1 }),
          },
        },
      ],
      cursor: { batchSize: 0 },
    });
    const cursor = reply['cursor'] as { id: unknown };
    await source.command('admin', { killCursors: '$cmd.aggregate', cursors: [cursor.id] });
    const update = await destination.write(metadataDb, {
      update: 'probe',
      updates: [{ q: { _id: 'probe' }, u: [stage] }],
    });
    return update['writeErrors'] === undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === Code.UnknownField || code === Code.UnknownPipelineStage) return false;
    throw error;
  }
}
