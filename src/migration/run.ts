import { namespaceOf } from '../apply/event.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import { ApplyPipeline, type ApplyStatus, probeRawDeltas } from '../apply/pipeline.js';
import type { Timestamp } from '../cluster/bson.js';
import type { CatalogEntry } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { DocumentWriter } from '../cluster/document-writer.js';
import { clusterError } from '../cluster/errors.js';
import { writeNote } from '../cluster/notes.js';
import { oplogTime } from '../cluster/oplog.js';
import { type StreamStart, secondsOf } from '../cluster/position.js';
import { RawWriter } from '../cluster/raw-writes.js';
import type { Scope } from '../cluster/scope.js';
import { setBlock } from '../cluster/write-block.js';
import { type CopyContext, copyAgain, copyCollections } from '../copy/copier.js';
import { CopyProgress } from '../copy/copy-progress.js';
import { LocalRangeCopier } from '../copy/range-copier.js';
import { type CommitContext, commitFromHandover, commitUpToHandover, isPastHandover } from '../cutover/commit.js';
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
import { checkEmpty, checkPlaces } from '../preflight/places.js';
import type { Load } from './load-level.js';
import type { StoredRecord } from './record.js';

/** What one run of the phases works with; made at start or recovery, kept over pauses. */
export interface RunContext {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly scope: Scope;
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
  #eventsApplied: number;

  constructor(context: RunContext) {
    this.#context = context;
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
    const { source, destination, scope, record, collections, logger, blocksDestination } = this.#context;
    const hasStartTime = record.value.startTime !== undefined;
    if (blocksDestination) await setBlock(destination, true, signal);
    if (!hasStartTime && !scope.sharesDestination) await this.#mustBeEmpty(signal);
    const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
      probeRawDeltas(source, destination, record.store.db),
    );
    if (!rawDeltas)
      this.#context.onWarning(
        'the servers do not give or take raw update deltas; changed documents are read again instead, which is slower',
      );
    await initialise(
      {
        source,
        destination,
        scope,
        mustFit: (entries, inner) => this.#mustFit(entries, inner),
        store: record.store,
        collections,
        logger: logger.component('initialise'),
      },
      hasStartTime,
      signal,
    );
    await record.refresh(signal);
    for (const warning of record.value.warnings) this.#context.onWarning(warning);
    await record.update({ phase: 'copy', rawDeltas }, signal);
  }

  async #mustBeEmpty(signal: AbortSignal): Promise<void> {
    const [finding] = await checkEmpty(this.#context.destination, signal);
    if (finding !== undefined)
      throw new AppError('DestinationModified', `${finding.description}: it was empty when the start was accepted`);
  }

  /** As the start found it, but for the catalog of T0. */
  async #mustFit(entries: readonly CatalogEntry[], signal: AbortSignal): Promise<void> {
    const { destination, scope } = this.#context;
    const databases = [...new Set(entries.map((each) => each.ns.db))];
    const [finding] = await checkPlaces({ databases, entries }, destination, scope, signal);
    if (finding === undefined) return;
    const name = finding.name === 'DestinationNamespaceExists' ? 'DestinationModified' : 'UnsupportedChange';
    throw new AppError(name, `${finding.description}: it was not so when the start was accepted`);
  }

  async #copyAll(writer: DocumentWriter, signal: AbortSignal): Promise<void> {
    const { source, record } = this.#context;
    const context = this.#copyContext(writer);
    await runWith(
      async (inner) => {
        if (buildsBeforeCopy(this.#context.buildIndexes)) await this.#buildFirst(inner);
        await copyCollections(context, this.#startTime(), inner);
      },
      [(inner) => this.#watchOplog(inner), (inner) => this.indexes.run(inner)],
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

  /** Who may not read the oplog goes without the early warning; the change stream itself still tells. */
  #withoutOplog(error: unknown, signal: AbortSignal): undefined {
    signal.throwIfAborted();
    this.#context.logger.debug('The oplog could not be read', { error });
    return undefined;
  }

  #copyContext(writer: DocumentWriter): CopyContext {
    const { source, destination, record, collections, load, logger } = this.#context;
    const ranges = new LocalRangeCopier(source, writer, new ByteBudget(load.copyBytes));
    return {
      source,
      destination,
      store: record.store,
      collections,
      ranges,
      progress: this.copy,
      logger: logger.component('copy'),
      parallelRanges: load.parallelRanges,
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
      await commitUpToHandover(this.#commitContext(), record.value, pipeline, inner);
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
        ],
        signal,
      );
    } finally {
      this.#eventsApplied = this.eventsApplied;
    }
    await record.refresh(signal);
  }

  #buildPipeline(writer: DocumentWriter): ApplyPipeline {
    const { source, destination, scope, record, collections, load, logger } = this.#context;
    const log = logger.component('apply');
    const copyContext = this.#copyContext(writer);
    return new ApplyPipeline(
      {
        source,
        destination,
        scope,
        store: record.store,
        collections,
        indexes: this.indexes,
        appliers: Array.from({ length: load.lanes }, () => new LocalLaneApplier(source, writer, log)),
        logger: log,
        windowBytes: load.windowBytes,
        rawDeltas: record.value.rawDeltas,
        // Not before what the event that called for it has seen.
        copyAgain: (collection, signal) => copyAgain(copyContext, collection, source.now ?? this.#startTime(), signal),
        onLateEvent: (event, signal) =>
          judgeLateEvent(
            destination,
            collections,
            {
              operation: event.operation,
              ns: namespaceOf(event),
              collection: event.collection,
              key: event.key,
              seconds: event.seconds,
            },
            signal,
          ),
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

  #commitContext(): CommitContext {
    const { source, destination, scope, record, collections, logger, onChange } = this.#context;
    return {
      source,
      destination,
      scope,
      store: record.store,
      collections,
      isBuilt: (spec) => isBuilt(this.#context.buildIndexes, spec),
      logger: logger.component('commit'),
      indexesBuilt: async (signal) => {
        // Once more against what is really there: the last moment at which a difference can be mended.
        this.indexes.checkAll();
        while (!this.indexes.settled) await sleep(POLL_MS, signal);
      },
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
