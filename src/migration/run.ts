import { namespaceOf } from '../apply/event.js';
import { type LaneApplier, LocalLaneApplier } from '../apply/lane-applier.js';
import { ApplyPipeline, type ApplyStatus, probeRawDeltas } from '../apply/pipeline.js';
import type { Refetching } from '../apply/refetch.js';
import { type RepairContext, repairDocuments } from '../apply/repair.js';
import type { OrderedDoc, Timestamp } from '../cluster/bson.js';
import type { CatalogEntry } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { DocumentFilter, refuseCollated } from '../cluster/document-filter.js';
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
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { LocalRangeCopier } from '../copy/range-copier.js';
import { blockSource } from '../cutover/block-source.js';
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
import { type MismatchRecord, VerificationStore } from '../metadata/verification-store.js';
import { metrics } from '../metrics.js';
import { checkEmpty, checkPlaces } from '../preflight/places.js';
import { proveEqual } from '../verify/final-check.js';
import { LocalRangeScanner } from '../verify/range-scanner.js';
import { Verifier } from '../verify/verifier.js';
import { WorkerRangeScanner } from '../verify/worker-range-scanner.js';
import type { Load } from './load-level.js';
import { storedOptions } from './options.js';
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
  /** Whether the commit blocks the source. */
  readonly blocksSource: boolean;
  /** How long it tries to, in milliseconds. */
  readonly blockLimitMs: number;
  readonly buildIndexes: BuildMode;
  /** Whether the data is verified. */
  readonly verifies: boolean;
  /** Resolves when the operator has called commit. */
  readonly commitCalled: Deferred<void>;
  readonly onWarning: (warning: string) => void;
  /** What holds up a block of the source, or undefined when nothing does any more. */
  readonly onHeldUp: (text: string | undefined) => void;
  /** Something that progress shows has changed. */
  readonly onChange: () => void;
  /** Wraps each lane's applier; the identity but in tests, which make it lose or repeat operations. */
  readonly wrapApplier: (applier: LaneApplier) => LaneApplier;
}

const CHECKPOINT_MS = 1000;
const NOTE_MS = 10_000;
const OPLOG_WATCH_MS = 30_000;
const CATALOG_WATCH_MS = 30_000;
const POLL_MS = 100;
/** Comparing so many documents is worth a thread and its connections. */
const THREAD_DOCUMENTS = 20_000;

/**
 * The work of a migration, from wherever its record says it is, to the end of the commit or until `signal` aborts.
 * Phases: initialise → copy → apply (with index builds and, once called, the commit) → done. Each stores its end before
 * the next begins. Source: docs/02-lifecycle.md.
 */
export class MigrationRun {
  readonly copy = new CopyProgress();
  readonly indexes: IndexBuilder;
  /** Undefined when the migration is not verified. */
  readonly verifier: Verifier | undefined;
  readonly #context: RunContext;
  #pipeline: ApplyPipeline | undefined;
  readonly #filter: DocumentFilter | undefined;
  #repairTools: { readonly pipeline: ApplyPipeline; readonly context: RepairContext } | undefined;
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
    this.verifier = context.verifies ? this.#buildVerifier() : undefined;
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
    const applied = (await record.store.loadCheckpoint(signal))?.eventsApplied ?? 0;
    this.#eventsApplied = Math.max(this.#eventsApplied, applied);
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
    for (const each of collections.live()) refuseCollated(this.#filter, each.sourceNs, each.options);
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
    const { source, collections, scope } = this.#context;
    while (!source.isAtLeast(6)) {
      await sleep(CATALOG_WATCH_MS, signal);
      await checkCatalog(source, collections, scope, signal);
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
    this.#repairTools = {
      pipeline,
      context: {
        source: this.#context.source,
        filter: this.#filter,
        writer,
        copyAgain: this.#copyAgain(this.#copyContext(writer)),
      },
    };
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
          (inner) => this.#verify(pipeline, inner),
          (inner) => this.#watchCatalog(inner),
        ],
        signal,
      );
    } finally {
      this.#repairTools = undefined;
      this.#eventsApplied = this.eventsApplied;
    }
    await record.refresh(signal);
  }

  #buildPipeline(writer: DocumentWriter): ApplyPipeline {
    const { source, destination, scope, record, collections, load, logger, wrapApplier } = this.#context;
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
        scope,
        store: record.store,
        collections,
        indexes: this.indexes,
        appliers: Array.from({ length: load.lanes }, () =>
          wrapApplier(new LocalLaneApplier(source, writer, log, refetching)),
        ),
        logger: log,
        windowBytes: load.windowBytes,
        rawDeltas: record.value.rawDeltas,
        filter,
        copyAgain: this.#copyAgain(copyContext),
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

  /** Not before what the event that calls for it has seen. */
  #copyAgain(context: CopyContext): RepairContext['copyAgain'] {
    return (collection, signal) =>
      copyAgain(context, collection, this.#context.source.now ?? this.#startTime(), signal);
  }

  /** Builds begin when everything written during the copy is applied: replayed states before may not be indexable. */
  async #openIndexes(pipeline: ApplyPipeline, signal: AbortSignal): Promise<void> {
    const { copyEndTime } = this.#context.record.value;
    if (copyEndTime === undefined) throw new InvariantError('the end of the copy is not stored');
    await pipeline.reached(copyEndTime, signal);
    this.indexes.open();
    this.#context.onChange();
  }

  #buildVerifier(): Verifier {
    const { source, destination, record, collections, load, logger, onWarning, onChange } = this.#context;
    return new Verifier({
      source,
      destination,
      filter: this.#filter,
      buildsNoIndexes: this.#context.buildIndexes === 'never',
      store: new VerificationStore(record.store),
      collections,
      mark: (cluster, signal) => writeNote(cluster, 'verification', signal),
      applied: async (time, signal) => this.#pipeline?.reached(time, signal),
      startScanner: async (documents) => {
        if (documents < THREAD_DOCUMENTS) return new LocalRangeScanner({ source, destination });
        const data = {
          source: source.access,
          destination: destination.access,
          maxPoolSize: load.parallelComparisons * 2,
        };
        return WorkerRangeScanner.start(data, logger.component('verifier'));
      },
      parallelRanges: load.parallelComparisons,
      logger: logger.component('verifier'),
      onWarning,
      onChange,
    });
  }

  /** Copies mismatches again, those of `ids` or all, and compares them. Resolves with how many were copied. */
  async repair(ids: readonly string[], signal: AbortSignal): Promise<number> {
    const { verifier } = this;
    const tools = this.#repairTools;
    if (verifier === undefined || tools === undefined)
      throw new AppError('InvalidStateTransition', 'repair is not permitted: nothing is being verified now');
    const wanted = new Set(ids);
    let repaired = 0;
    for await (const page of verifier.mismatches.pages(signal)) {
      const chosen = page.filter(({ key }) => wanted.size === 0 || wanted.has(key));
      for (const [id, documents] of byCollection(chosen)) {
        const collection = this.#context.collections.get(id);
        if (collection === undefined || collection.dropped) continue;
        repaired += await tools.pipeline.withoutApplying([id], () =>
          repairDocuments(tools.context, collection, documents, signal),
        );
      }
    }
    await verifier.recheckMismatches(signal);
    return repaired;
  }

  /** Begins when what was written during the copy is applied: before, nearly every document would be in motion. */
  async #verify(pipeline: ApplyPipeline, signal: AbortSignal): Promise<void> {
    const { copyEndTime } = this.#context.record.value;
    if (this.verifier === undefined || copyEndTime === undefined) return;
    await pipeline.reached(copyEndTime, signal);
    await this.verifier.run(signal);
  }

  async #keepCheckpoint(pipeline: ApplyPipeline, signal: AbortSignal): Promise<void> {
    let stored: string | undefined;
    const store = async (end: AbortSignal): Promise<void> => {
      const { safe } = pipeline.status;
      if (safe === undefined || safe.token === stored) return;
      await this.#context.record.store.saveCheckpoint(safe, end);
      metrics.checkpoints.add(1);
      stored = safe.token;
      await this.#context.collections.forgetDropped(safe.token, end);
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
      logger.info(`Copying the capped collection ${each.name} again, as of the commit`);
      await copyAgain(context, each, time, signal);
    }
  }

  #commitContext(writer?: DocumentWriter): CommitContext {
    const { source, destination, scope, record, collections, logger, onChange, buildIndexes } = this.#context;
    const wants = (spec: OrderedDoc): boolean => isBuilt(buildIndexes, spec);
    return {
      source,
      destination,
      scope,
      store: record.store,
      collections,
      isBuilt: wants,
      logger: logger.component('commit'),
      blockSource: async (signal) => {
        if (this.#context.blocksSource) await blockOf(this.#context, source, signal);
      },
      indexesBuilt: async (signal) => {
        while (!this.indexes.settled) await sleep(POLL_MS, signal);
        // Once more against what is really there: the last moment at which a difference can be mended.
        this.indexes.checkAll();
        while (!this.indexes.settled) await sleep(POLL_MS, signal);
      },
      verified: async (time, signal) => {
        const { verifier } = this;
        if (verifier === undefined) return;
        const check = { pair: { source, destination, filter: this.#filter }, verifier, collections, isBuilt: wants };
        await traced('verify the end', {}, () => proveEqual(check, time, signal));
      },
      settleCapped: (time, signal) => this.#settleCapped(writer, time, signal),
      onHandover: async (signal) => {
        await record.refresh(signal);
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

function byCollection(records: readonly MismatchRecord[]): Map<string, Buffer[]> {
  const result = new Map<string, Buffer[]>();
  for (const { collection, id } of records) result.set(collection, [...(result.get(collection) ?? []), id]);
  return result;
}

/** Blocks the users of `cluster`, the present source; the record says so before it is done. Resolves as `blockSource`. */
export async function blockOf(
  context: Pick<RunContext, 'record' | 'blockLimitMs' | 'onHeldUp' | 'logger'>,
  cluster: Cluster,
  signal: AbortSignal,
): Promise<boolean> {
  const { record, blockLimitMs, onHeldUp, logger } = context;
  const set = await blockSource(
    {
      source: cluster,
      limitMs: blockLimitMs,
      isOurs: record.value.blockedSource === true,
      onSetting: () => record.update({ blockedSource: true }, signal),
      onHeldUp,
    },
    signal,
  );
  onHeldUp(undefined);
  logger.info(set ? `Blocked writes to ${cluster.label}` : `Writes to ${cluster.label} are blocked already`);
  return set;
}

/** Rejects when `signal` aborts. */
function abortion(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
