/** Runs the third phase: applies changes of the source, up to the commit's point of no return. */
import { CommitFence } from '../apply/commit-fence.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import { ApplyPipeline } from '../apply/pipeline.js';
import type { Refetching } from '../apply/refetch.js';
import { repairDocuments } from '../apply/repair.js';
import { ThreadLaneApplier } from '../apply/thread-lane-applier.js';
import type { Timestamp } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import { copyAgain } from '../copy/copier.js';
import { commitUpToHandover } from '../cutover/commit.js';
import { changesToApply } from '../documents/change-sources.js';
import { InvariantError } from '../errors.js';
import { shareTakers } from '../instances/shared-changes.js';
import { rejectOnAbort } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { MismatchRecord } from '../metadata/verification-store.js';
import type { Verifier } from '../verify/verifier.js';
import { watchBalancers, watchShardKeys, watchShards } from './balancing.js';
import { Checkpoints } from './checkpoints.js';
import { commitContextOf } from './committing.js';
import { copyContextOf, type Recopy } from './copying.js';
import { FinishPhase } from './finish-phase.js';
import { lateEventJudge } from './late-event-judge.js';
import type { Phase, PhaseProgress } from './phase.js';
import { type RunContext, startTimeOf } from './run-context.js';
import { makeVerifier, rememberRecopy } from './verification.js';
import { keepWritingNotes, watchCatalog, watchIdleStreams } from './watchers.js';
import type { Writers } from './writers.js';

/** How long streams hurry at the beginning, in milliseconds: a small migration is over by then. */
const FIRST_MS = 2000;

/**
 * Change event application, with index builds and verification beside it, until the commit that is called during it has
 * stored the point of no return.
 *
 * Made in this order, each of what stands before it: the fence, the lanes' appliers, the pipeline, the verifier, what
 * copies a collection again (of which the verifier must know), the checkpoints.
 */
export class ApplyPhase implements Phase {
  readonly name = 'change event application';
  readonly #context: RunContext;
  readonly #writers: Writers;
  readonly #fence: CommitFence;
  readonly #pipeline: ApplyPipeline;
  /** Undefined when the migration is not verified. */
  readonly #verifier: Verifier | undefined;
  readonly #copyAgain: Recopy;
  readonly #checkpoints: Checkpoints;

  constructor(context: RunContext, writers: Writers) {
    this.#context = context;
    this.#writers = writers;
    this.#fence = new CommitFence(context.record.value.commit?.time);
    this.#pipeline = pipelineOf(context, writers, this.#fence);
    const copy = recopyOf(context, writers, this.#fence);
    this.#verifier = context.verifies
      ? makeVerifier(context, {
          applied: (time, signal) => this.#pipeline.reached(time, signal),
          withoutApplying: (id, work) => this.#withoutApplying(id, work),
          copy,
        })
      : undefined;
    this.#copyAgain = rememberRecopy(context, this.#verifier, copy);
    this.#checkpoints = new Checkpoints(context, this.#pipeline);
  }

  progress(): PhaseProgress {
    return { apply: this.#pipeline.status, verifier: this.#verifier };
  }

  async run(signal: AbortSignal): Promise<Phase> {
    const context = this.#context;
    const { held, indexes, pace, logger } = context;
    logger.info('Starting change event application phase');
    pace.hurry(FIRST_MS);
    const checkpoint = await held.store.loadCheckpoint(signal);
    const start = checkpoint?.position ?? Position.startAt(startTimeOf(context));
    const applying = {
      start,
      eventsApplied: checkpoint?.eventsApplied ?? 0,
      copyAgain: this.#copyAgain,
      onLateEvent: lateEventJudge(context),
    };
    await runWith(
      (inner) => this.#commit(inner),
      [
        (inner) => this.#pipeline.run(applying, inner),
        (inner) => indexes.run((each) => this.#caughtUp(each), inner),
        (inner) => this.#openIndexes(inner),
        (inner) => this.#checkpoints.keep(inner),
        (inner) => keepWritingNotes(context, inner),
        (inner) => watchIdleStreams(context, () => this.#pipeline.status.safeSeconds, inner),
        (inner) => this.#verify(inner),
        (inner) => watchCatalog(context, inner),
        (inner) => watchBalancers(context, inner),
        (inner) => watchShards(context, inner),
        (inner) => watchShardKeys(context, (each) => this.#caughtUp(each), inner),
      ],
      signal,
    );
    await this.#writers.close();
    return new FinishPhase(context, this.#verifier);
  }

  /**
   * Copies mismatches again, those of `ids` or all when it is empty, and has them compared. Resolves with how many were
   * copied. Precondition: the migration is verified.
   */
  async repair(ids: ReadonlySet<string>, signal: AbortSignal): Promise<number> {
    const verifier = this.#verifier;
    if (verifier === undefined) throw new InvariantError('a migration that is not verified is to be repaired');
    const whole = new Set<string>();
    let repaired = 0;
    for await (const page of verifier.mismatches.pages(signal)) {
      const chosen = page.filter(({ key }) => ids.size === 0 || ids.has(key));
      repaired += await this.#repairPage(chosen, whole, signal);
    }
    await verifier.recheckMismatches(signal);
    return repaired;
  }

  /** `whole`: the collections that were copied as a whole by earlier calls, and need it no more. */
  async #repairPage(records: readonly MismatchRecord[], whole: Set<string>, signal: AbortSignal): Promise<number> {
    const { source, filter } = this.#context;
    const repairing = { source, filter, writer: this.#writers.document, copyAgain: this.#copyAgain };
    let repaired = 0;
    for (const [id, documents] of byCollection(records)) {
      if (whole.has(id)) {
        repaired += documents.length;
        continue;
      }
      await this.#withoutApplying(id, async (collection) => {
        if (collection.capped) whole.add(id);
        repaired += await repairDocuments(repairing, collection, documents, signal);
      });
    }
    return repaired;
  }

  /** Works on a collection while nothing is applied to it, under the name it has then; not at all if it was dropped. */
  async #withoutApplying(id: string, work: (collection: MigratedCollection) => Promise<void>): Promise<void> {
    await this.#pipeline.withoutApplying([id], async () => {
      const collection = this.#context.collections.get(id);
      if (collection !== undefined && !collection.dropped) await work(collection);
    });
  }

  async #commit(signal: AbortSignal): Promise<void> {
    const context = this.#context;
    await Promise.race([context.commitCalled.promise, rejectOnAbort(signal)]);
    context.pace.hurry(Number.POSITIVE_INFINITY);
    const committing = commitContextOf(context, {
      writers: this.#writers,
      verifier: this.#verifier,
      checkpoints: this.#checkpoints,
    });
    await commitUpToHandover(committing, this.#pipeline, signal);
  }

  /** Waits until what the source has now, and all that was written during the copy, is applied. */
  async #caughtUp(signal: AbortSignal): Promise<void> {
    const now = await writeOplogNote(this.#context.source, 'indexes', signal);
    await this.#pipeline.reached(this.#copyEndTime, signal);
    await this.#pipeline.reached(now, signal);
  }

  /** Builds begin when everything written during the copy is applied: replayed states before may not be indexable. */
  async #openIndexes(signal: AbortSignal): Promise<void> {
    const { indexes, listener } = this.#context;
    await this.#pipeline.reached(this.#copyEndTime, signal);
    indexes.open();
    listener.changed();
  }

  /** Begins when what was written during the copy is applied: before, nearly every document would be in motion. */
  async #verify(signal: AbortSignal): Promise<void> {
    if (this.#verifier === undefined) return;
    await this.#pipeline.reached(this.#copyEndTime, signal);
    await this.#verifier.run(signal);
  }

  get #copyEndTime(): Timestamp {
    const { copyEndTime } = this.#context.record.value;
    if (copyEndTime === undefined) throw new InvariantError('the end of the copy is not stored');
    return copyEndTime;
  }
}

function pipelineOf(context: RunContext, { document: writer, threads }: Writers, fence: CommitFence): ApplyPipeline {
  const { source, destination, scope, held, record, collections, indexes, layout, load, filter, listener } = context;
  const logger = context.logger.component('apply');
  const refetching: Refetching = {
    filter,
    // With a filter, what is no longer found must have been so at the commit time, not only since.
    readTime: () => (filter === undefined || record.value.readPastCommit === true ? undefined : fence.time),
    onStateGone: (signal) => record.update({ readPastCommit: true }, signal),
  };
  const { readTime } = refetching;
  const appliers = Array.from({ length: load.lanes }, (_, number) => {
    const local = new LocalLaneApplier(source, writer, logger, refetching);
    return context.wrapApplier(
      threads === undefined ? local : new ThreadLaneApplier({ threads, number, local, readTime }),
    );
  });
  return new ApplyPipeline(
    {
      source,
      changes: changesToApply(source, logger, context.pace),
      pace: context.pace,
      destination,
      scope,
      store: held.store,
      collections,
      indexes,
      layout,
      appliers,
      logger,
      windowBytes: load.windowBytes,
      rawDeltas: record.value.rawDeltas,
      filter,
      takers: shareTakers({ crew: context.crew, pair: { source, destination }, logger }),
      onWarning: (warning) => listener.warn(warning),
    },
    fence,
  );
}

/** Copies a collection anew: not before what the event that calls for it has seen. */
function recopyOf(context: RunContext, writers: Writers, fence: CommitFence): Recopy {
  const { source, record, filter } = context;
  const copying = copyContextOf(context, writers);
  return async (collection, signal) => {
    // A capped one is copied once more, and none of its late changes is let pass.
    const looksPastCommit = filter !== undefined && fence.time !== undefined && !collection.capped;
    if (looksPastCommit) await record.update({ readPastCommit: true }, signal);
    await copyAgain(copying, collection, source.now ?? startTimeOf(context), signal);
  };
}

function byCollection(records: readonly MismatchRecord[]): Map<string, Buffer[]> {
  const result = new Map<string, Buffer[]>();
  for (const { collection, id } of records) result.set(collection, [...(result.get(collection) ?? []), id]);
  return result;
}
