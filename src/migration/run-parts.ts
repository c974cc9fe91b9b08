import { namespaceOf } from '../apply/event.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import { ApplyPipeline } from '../apply/pipeline.js';
import type { Refetching } from '../apply/refetch.js';
import type { RepairContext } from '../apply/repair.js';
import type { OrderedDoc, Timestamp } from '../cluster/bson.js';
import { DocumentFilter } from '../cluster/document-filter.js';
import type { DocumentWriter } from '../cluster/document-writer.js';
import { writeNote } from '../cluster/notes.js';
import { type CopyContext, copyAgain } from '../copy/copier.js';
import { CopyProgress } from '../copy/copy-progress.js';
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { LocalRangeCopier } from '../copy/range-copier.js';
import { concernsFilter } from '../cutover/filtered-late-events.js';
import { judgeLateEvent } from '../cutover/late-events.js';
import { InvariantError } from '../errors.js';
import { isBuilt } from '../indexes/build-mode.js';
import { IndexBuilder } from '../indexes/builder.js';
import { ByteBudget } from '../lib/limit.js';
import { VerificationStore } from '../metadata/verification-store.js';
import { LocalRangeScanner } from '../verify/range-scanner.js';
import { Verifier } from '../verify/verifier.js';
import { WorkerRangeScanner } from '../verify/worker-range-scanner.js';
import { storedOptions } from './options.js';
import type { RunContext } from './run-context.js';

/** Comparing so many documents is worth a thread and its connections. */
const THREAD_DOCUMENTS = 20_000;

/** What the phases of a run share. */
export interface RunParts {
  readonly context: RunContext;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  readonly copy: CopyProgress;
  readonly indexes: IndexBuilder;
  /** Undefined when the migration is not verified. */
  readonly verifier: Verifier | undefined;
  /** Of change event application; undefined before it. */
  pipeline: ApplyPipeline | undefined;
}

/** The parts of a run that begins now. */
export function makeParts(context: RunContext): RunParts {
  const { documentFilter } = storedOptions(context.record.value);
  const filter = documentFilter === null ? undefined : new DocumentFilter(documentFilter);
  const parts: RunParts = {
    context,
    filter,
    copy: new CopyProgress(),
    indexes: indexBuilder(context),
    verifier: context.verifies ? makeVerifier(context, filter, () => parts.pipeline) : undefined,
    pipeline: undefined,
  };
  return parts;
}

/** Whether the migration builds an index at all. */
export function wantsIndex({ buildIndexes }: RunContext): (spec: OrderedDoc) => boolean {
  return (spec) => isBuilt(buildIndexes, spec);
}

/** Errors: Internal when nothing has been initialised yet. */
export function startTimeOf({ record }: RunContext): Timestamp {
  const { startTime } = record.value;
  if (startTime === undefined) throw new InvariantError('the start time is not stored');
  return startTime;
}

/** What the copy of collections works with, the first one and later ones. */
export function copyContextOf({ context, filter, copy }: RunParts, writer: DocumentWriter): CopyContext {
  const { source, destination, record, collections, load, logger } = context;
  const log = logger.component('copy');
  const ranges = new LocalRangeCopier(source, writer, new ByteBudget(load.copyBytes), log);
  const { copyInNaturalOrder, detectRandomId } = storedOptions(record.value);
  return {
    source,
    destination,
    store: record.store,
    collections,
    ranges,
    progress: copy,
    logger: log,
    parallelRanges: load.parallelRanges,
    naturalOrder: { named: copyInNaturalOrder, detectRandomId, detectAboveBytes: DETECT_ABOVE_BYTES },
    filter,
  };
}

/** Copies a collection anew: not before what the event that calls for it has seen. */
export function copyAgainOf(parts: RunParts, writer: DocumentWriter): RepairContext['copyAgain'] {
  const copying = copyContextOf(parts, writer);
  const { source } = parts.context;
  return (collection, signal) => copyAgain(copying, collection, source.now ?? startTimeOf(parts.context), signal);
}

/** The pipeline of change event application. */
export function makePipeline(parts: RunParts, writer: DocumentWriter): ApplyPipeline {
  const { context, filter, indexes } = parts;
  const { source, destination, scope, record, collections, load, logger, wrapApplier } = context;
  const log = logger.component('apply');
  const readsPastCommit = (): boolean => record.value.readPastCommit === true;
  const refetching: Refetching = {
    filter,
    // With a filter, what is no longer found must have been so at the commit time, not only since.
    readTime: () => (filter === undefined || readsPastCommit() ? undefined : parts.pipeline?.fence),
    onStateGone: (signal) => record.update({ readPastCommit: true }, signal),
  };
  const appliers = Array.from({ length: load.lanes }, () =>
    wrapApplier(new LocalLaneApplier(source, writer, log, refetching)),
  );
  return new ApplyPipeline(
    {
      source,
      destination,
      scope,
      store: record.store,
      collections,
      indexes,
      appliers,
      logger: log,
      windowBytes: load.windowBytes,
      rawDeltas: record.value.rawDeltas,
      filter,
      copyAgain: copyAgainOf(parts, writer),
      onLateEvent: async (event, signal) => {
        const { operation, collection, key, seconds } = event;
        const late = { operation, ns: namespaceOf(event), collection, key, seconds };
        const mayPass = filter !== undefined && !readsPastCommit();
        if (mayPass && !(await concernsFilter({ source, destination, collections }, filter, late, signal))) return;
        await judgeLateEvent(destination, collections, late, signal);
      },
    },
    record.value.commit?.time,
  );
}

function indexBuilder(context: RunContext): IndexBuilder {
  const { destination, collections, load, logger, onWarning } = context;
  return new IndexBuilder({
    destination,
    collections,
    logger: logger.component('indexes'),
    wants: wantsIndex(context),
    parallelBuilds: load.parallelBuilds,
    onWarning,
  });
}

function makeVerifier(
  context: RunContext,
  filter: DocumentFilter | undefined,
  pipeline: () => ApplyPipeline | undefined,
): Verifier {
  const { source, destination, record, collections, load, logger, onWarning, onChange } = context;
  const log = logger.component('verifier');
  return new Verifier({
    source,
    destination,
    filter,
    buildsNoIndexes: context.buildIndexes === 'never',
    store: new VerificationStore(record.store),
    collections,
    mark: (cluster, signal) => writeNote(cluster, 'verification', signal),
    applied: async (time, signal) => pipeline()?.reached(time, signal),
    startScanner: async (documents) => {
      if (documents < THREAD_DOCUMENTS) return new LocalRangeScanner({ source, destination });
      const maxPoolSize = load.parallelComparisons * 2;
      return WorkerRangeScanner.start({ source: source.access, destination: destination.access, maxPoolSize }, log);
    },
    parallelRanges: load.parallelComparisons,
    logger: log,
    onWarning,
    onChange,
  });
}
