import { namespaceOf } from '../apply/event.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import { ApplyPipeline, type ApplyStatus, probeRawDeltas } from '../apply/pipeline.js';
import type { Refetching } from '../apply/refetch.js';
import type { Timestamp } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { DocumentFilter, refuseCollated } from '../cluster/document-filter.js';
import { DocumentWriter } from '../cluster/document-writer.js';
import { clusterError } from '../cluster/errors.js';
import { nsText } from '../cluster/namespace.js';
import { writeNote } from '../cluster/notes.js';
import { oplogTime } from '../cluster/oplog.js';
import { type StreamStart, secondsOf } from '../cluster/position.js';
import { RawWriter } from '../cluster/raw-writes.js';
import { setBlock } from '../cluster/write-block.js';
import { type CopyContext, copyAgain, copyCollections } from '../copy/copier.js';
import { CopyProgress } from '../copy/copy-progress.js';
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { LocalRangeCopier } from '../copy/range-copier.js';
import { checkCatalog } from '../cutover/catalog-check.js';
import { type CommitContext, commitFromHandover, commitUpToHandover, isPastHandover } from '../cutover/commit.js';
import { concernsFilter } from '../cutover/filtered-late-events.js';
import { judgeLateEvent } from '../cutover/late-events.js';
import { AppError, InvariantError } from '../errors.js';
import { type BuildMode, buildsBeforeCopy, isBuilt } from '../indexes/build-mode.js';
import { IndexBuilder } from '../indexes/builder.js';
import { initialise } from '../initialise/initialise.js';
import { ByteBudget } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import { sleep } from '../lib/signals.js';
import { type Deferred, runWith } from '../lib/tasks.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { Lease } from '../metadata/lease.js';
import { metrics } from '../metrics.js';
import { checkEmpty } from '../preflight/data.js';
import type { Load } from './load-level.js';
import { storedOptions } from './options.js';
import type { StoredRecord } from './record.js';

/** What one run of the phases works with; made at start or recovery, kept over pauses. */
export interface RunContext {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly record: StoredRecord;
  readonly collections: CollectionMap;
  readonly lease: Lease;
  readonly load: Load;
  readonly logger: Logger;
  readonly blocksDestination: boolean;
  readonly buildIndexes: BuildMode;
  /** Resolves when the operator has called commit. */
  readonly commitCalled: Deferred<void>;
  readonly onWarning: (warning: string) => void;
  /** Something that progress shows has changed. */
  readonly onChange: () => void;
}

const CHECKPOINT_MS = 1000;
const NOTE_MS = 10_000;
const OPLOG_WATCH_MS = 30_000;
const CATALOG_WATCH_MS = 30_000;
const POLL_MS = 100;

/**
 * The work of a migration, from wherever its record says it is, to the end of the commit or until `signal` aborts.
 * Phases: initialise → copy → apply (with index builds and, once called, the commit) → done. Each stores its end before
 * the next begins. Source: docs/02-lifecycle.md.
 */
export class MigrationRun {
  readonly copy = new CopyProgress();
  readonly indexes: IndexBuilder;
  readonly #context: RunContext;
  #pipeline: ApplyPipeline | undefined;
  readonly #filter: DocumentFilter | undefined;
  #eventsApplied: number;

  constructor(context: RunContext) {
    this.#context = context;
    const { documentFilter } = storedOptions(context.record.value);
    this.#filter = documentFilter === null ? undefined : new DocumentFilter(documentFilter);
    this.#eventsApplied = context.record.value.eventsApplied;
    this.indexes = new IndexBuilder({
      destination: context.destination,
      collections: context.collections,
      logger: context.logger.component('indexes'),
      wants: (spec) => isBuilt(context.buildIndexes, spec),
      parallelBuilds: context.load.parallelBuilds,
      onWarning: context.onWarning,
    });
  }

  get apply(): ApplyStatus | undefined {
    return this.#pipeline?.status;
  }

  get eventsApplied(): number {
    return this.#pipeline?.status.safe?.eventsApplied ?? this.#eventsApplied;
  }

  /** Whether what was written during the copy has been applied: only then are the applied states whole. */
  get drained(): boolean {
    const end = this.#context.record.value.copyEndTime;
    const safe = this.apply?.safeSeconds;
    return end !== undefined && safe !== undefined && safe >= end.getHighBitsUnsigned() && this.indexes.isOpen;
  }

  /** Rejects with the AppError that ended it; resolves when the commit is complete. */
  async run(signal: AbortSignal): Promise<void> {
    const { source, destination } = this.#context;
    try {
      await this.#phases(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw clusterError(
        error,
        `${source.name}/${destination.name}`,
        `migrating in phase ${this.#context.record.value.phase}`,
      );
    }
  }

  async #phases(signal: AbortSignal): Promise<void> {
    const { record, destination, collections, logger } = this.#context;
    // A run that was stopped may have stored more than it lived to tell.
    await record.refresh(signal);
    await collections.load(signal);
    this.copy.load(collections, await record.store.loadPartitions(signal));
    if (isPastHandover(record.value)) return this.#finish(signal);
    const raw = await destination.attempt('probing the raw pass-through', signal, () =>
      RawWriter.create(destination, record.store.db),
    );
    if (!raw.passesThrough)
      this.#context.onWarning(
        'the driver has no raw pass-through here; documents are decoded and encoded, which is slower',
      );
    const writer = new DocumentWriter(destination, raw, (target, inner) => this.indexes.remove(target.uuid, inner));
    if (record.value.phase === 'initialise') await traced('initialise', {}, () => this.#initialise(signal));
    if (record.value.phase === 'copy') await traced('collection copy', {}, () => this.#copyAll(writer, signal));
    this.copy.finish();
    logger.info('Applying change events');
    await traced('change event application', {}, () => this.#applyAndCommit(writer, signal));
    await traced('finalise', {}, () => this.#finish(signal));
  }

  async #initialise(signal: AbortSignal): Promise<void> {
    const { source, destination, record, collections, logger, blocksDestination } = this.#context;
    const hasStartTime = record.value.startTime !== undefined;
    if (blocksDestination) await setBlock(destination, true, signal);
    if (!hasStartTime) await this.#mustBeEmpty(signal);
    const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
      probeRawDeltas(source, destination, record.store.db),
    );
    if (!rawDeltas)
      this.#context.onWarning(
        'the servers do not give or take raw update deltas; changed documents are read again instead, which is slower',
      );
    await initialise(
      { source, destination, store: record.store, collections, logger: logger.component('initialise') },
      hasStartTime,
      signal,
    );
    for (const each of collections.live()) refuseCollated(this.#filter, each.ns, each.options);
    await record.refresh(signal);
    await record.update({ phase: 'copy', rawDeltas }, signal);
  }

  async #mustBeEmpty(signal: AbortSignal): Promise<void> {
    const [finding] = await checkEmpty(this.#context.destination, signal);
    if (finding !== undefined)
      throw new AppError('DestinationModified', `${finding.description}: it was empty when the start was accepted`);
  }

  async #copyAll(writer: DocumentWriter, signal: AbortSignal): Promise<void> {
    const { source, record } = this.#context;
    const context = this.#copyContext(writer);
    await runWith(
      async (inner) => {
        if (buildsBeforeCopy(this.#context.buildIndexes)) await this.#buildFirst(inner);
        await copyCollections(context, this.#startTime(), inner);
      },
      [(inner) => this.#watchOplog(inner), (inner) => this.#watchCatalog(inner), (inner) => this.indexes.run(inner)],
      signal,
    );
    const copyEndTime = await writeNote(source, 'copy end', signal);
    await record.update({ phase: 'apply', copyEndTime }, signal);
    this.#context.onChange();
  }

  /** On empty collections, or on what an earlier run has copied. */
  async #buildFirst(signal: AbortSignal): Promise<void> {
    this.indexes.open();
    while (!this.indexes.settled) await sleep(POLL_MS, signal);
  }

  /** A copy whose changes the oplog has let go can only fail in the end: better at once than hours later. */
  async #watchOplog(signal: AbortSignal): Promise<void> {
    const { source } = this.#context;
    const needed = secondsOf(this.#startTime());
    for (;;) {
      await sleep(OPLOG_WATCH_MS, signal);
      const oldest = await oplogTime(source, 1, signal).catch((error: unknown) => this.#withoutOplog(error, signal));
      if (oldest !== undefined && oldest > needed) {
        throw new AppError(
          'OplogRolledOver',
          `the oplog of ${source.name} no longer reaches back to the beginning of the copy. Make it larger with replSetResizeOplog and start anew`,
        );
      }
    }
  }

  /** Sources before 6.0 tell of few catalog changes: better found now than at the commit. */
  async #watchCatalog(signal: AbortSignal): Promise<void> {
    const { source, collections } = this.#context;
    while (!source.isAtLeast(6)) {
      await sleep(CATALOG_WATCH_MS, signal);
      await checkCatalog(source, collections, signal);
    }
  }

  /** Who may not read the oplog goes without the early warning; the change stream itself still tells. */
  #withoutOplog(error: unknown, signal: AbortSignal): undefined {
    signal.throwIfAborted();
    this.#context.logger.debug('The oplog could not be read', { error });
    return undefined;
  }

  #copyContext(writer: DocumentWriter): CopyContext {
    const { source, destination, record, collections, load, logger } = this.#context;
    const log = logger.component('copy');
    const ranges = new LocalRangeCopier(source, writer, new ByteBudget(load.copyBytes), log);
    const { copyInNaturalOrder, detectRandomId } = storedOptions(record.value);
    return {
      source,
      destination,
      store: record.store,
      collections,
      ranges,
      progress: this.copy,
      logger: log,
      parallelRanges: load.parallelRanges,
      naturalOrder: { named: copyInNaturalOrder, detectRandomId, detectAboveBytes: DETECT_ABOVE_BYTES },
      filter: this.#filter,
    };
  }

  #startTime(): Timestamp {
    const { startTime } = this.#context.record.value;
    if (startTime === undefined) throw new InvariantError('the start time is not stored');
    return startTime;
  }

  async #applyAndCommit(writer: DocumentWriter, signal: AbortSignal): Promise<void> {
    const { record, commitCalled } = this.#context;
    const checkpoint = await record.store.loadCheckpoint(signal);
    const start: StreamStart = checkpoint === undefined ? { time: this.#startTime() } : { token: checkpoint.token };
    const pipeline = this.#buildPipeline(writer);
    this.#pipeline = pipeline;
    const commit = async (inner: AbortSignal): Promise<void> => {
      await Promise.race([commitCalled.promise, abortion(inner)]);
      await commitUpToHandover(this.#commitContext(writer), record.value, pipeline, inner);
    };
    try {
      await runWith(
        commit,
        [
          (inner) => pipeline.run(start, checkpoint?.eventsApplied ?? 0, inner),
          (inner) => this.indexes.run(inner),
          (inner) => this.#openIndexes(pipeline, inner),
          (inner) => this.#keepCheckpoint(pipeline, inner),
          (inner) => this.#keepNoting(inner),
          (inner) => this.#watchCatalog(inner),
        ],
        signal,
      );
    } finally {
      this.#eventsApplied = this.eventsApplied;
    }
    await record.refresh(signal);
  }

  #buildPipeline(writer: DocumentWriter): ApplyPipeline {
    const { source, destination, record, collections, load, logger } = this.#context;
    const log = logger.component('apply');
    const copyContext = this.#copyContext(writer);
    const filter = this.#filter;
    const refetching: Refetching = {
      filter,
      // With a filter, what is no longer found must have been so at the commit time, not only since.
      readTime: () =>
        filter === undefined || record.value.readPastCommit === true ? undefined : this.#pipeline?.fence,
      onStateGone: (signal) => record.update({ readPastCommit: true }, signal),
    };
    return new ApplyPipeline(
      {
        source,
        destination,
        store: record.store,
        collections,
        indexes: this.indexes,
        appliers: Array.from({ length: load.lanes }, () => new LocalLaneApplier(source, writer, log, refetching)),
        logger: log,
        windowBytes: load.windowBytes,
        rawDeltas: record.value.rawDeltas,
        filter,
        // Not before what the event that called for it has seen.
        copyAgain: (collection, signal) => copyAgain(copyContext, collection, source.now ?? this.#startTime(), signal),
        onLateEvent: async (event, signal) => {
          const late = {
            operation: event.operation,
            ns: namespaceOf(event),
            collection: event.collection,
            key: event.key,
            seconds: event.seconds,
          };
          const clusters = { source, destination, collections };
          const mayPass = filter !== undefined && record.value.readPastCommit !== true;
          if (mayPass && !(await concernsFilter(clusters, filter, late, signal))) return;
          await judgeLateEvent(destination, collections, late, signal);
        },
      },
      record.value.commit?.time,
    );
  }

  /** Builds begin when everything written during the copy is applied: replayed states before may not be indexable. */
  async #openIndexes(pipeline: ApplyPipeline, signal: AbortSignal): Promise<void> {
    const { copyEndTime } = this.#context.record.value;
    if (copyEndTime === undefined) throw new InvariantError('the end of the copy is not stored');
    await pipeline.reached(copyEndTime, signal);
    this.indexes.open();
    this.#context.onChange();
  }

  async #keepCheckpoint(pipeline: ApplyPipeline, signal: AbortSignal): Promise<void> {
    let stored: string | undefined;
    const store = async (end: AbortSignal): Promise<void> => {
      const { safe } = pipeline.status;
      if (safe === undefined || safe.token === stored) return;
      await this.#context.record.store.saveCheckpoint(safe, end);
      metrics.checkpoints.add(1);
      stored = safe.token;
    };
    try {
      for (;;) {
        await sleep(CHECKPOINT_MS, signal);
        await store(signal);
      }
    } finally {
      // Where a pause, a stop or a failure left off; what is not stored would only be applied again.
      if (this.#context.lease.held)
        await store(AbortSignal.timeout(3000)).catch((error: unknown) =>
          this.#context.logger.debug('The last checkpoint was not stored', { error }),
        );
    }
  }

  /** Keeps the stream's position moving while nobody writes, so that it cannot age out of the oplog. */
  async #keepNoting(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(NOTE_MS, signal);
      await writeNote(this.#context.source, 'alive', signal);
    }
  }

  /**
   * Before 5.0 a capped collection evicts without events, and under a filter its order is not that of the events: such
   * ones are copied again.
   */
  async #settleCapped(writer: DocumentWriter | undefined, time: Timestamp, signal: AbortSignal): Promise<void> {
    const { source, collections, logger } = this.#context;
    if (writer === undefined || (source.isAtLeast(5) && this.#filter === undefined)) return;
    const context = this.#copyContext(writer);
    for (const each of collections.live().filter(({ capped }) => capped)) {
      logger.info(`Copying the capped collection ${nsText(each.ns)} again, as of the commit`);
      await copyAgain(context, each, time, signal);
    }
  }

  #commitContext(writer?: DocumentWriter): CommitContext {
    const { source, destination, record, collections, logger, onChange } = this.#context;
    return {
      source,
      destination,
      store: record.store,
      collections,
      isBuilt: (spec) => isBuilt(this.#context.buildIndexes, spec),
      logger: logger.component('commit'),
      indexesBuilt: async (signal) => {
        // Once more against what is really there: the last moment at which a difference can be mended.
        this.indexes.checkAll();
        while (!this.indexes.settled) await sleep(POLL_MS, signal);
      },
      settleCapped: (time, signal) => this.#settleCapped(writer, time, signal),
      onHandover: async () => {
        await record.refresh(AbortSignal.timeout(60_000));
        onChange();
      },
    };
  }

  async #finish(signal: AbortSignal): Promise<void> {
    const { record, onWarning, logger } = this.#context;
    const warnings = await commitFromHandover(this.#commitContext(), record.value, signal);
    for (const warning of warnings) onWarning(warning);
    if (warnings.length > 0) {
      // The operator may mend the data and restart; until then the migration stays in COMMITTING.
      logger.error('The commit is not complete', { warnings });
      await abortion(signal);
    }
  }
}

/** Rejects when `signal` aborts. */
function abortion(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
