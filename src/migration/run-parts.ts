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
import { LocalRangeCopier } from '../copy/range-copier.js';
import { concernsFilter } from '../cutover/filtered-late-events.js';
import { judgeLateEvent } from '../cutover/late-events.js';
import { InvariantError } from '../errors.js';
import { isBuilt } from '../indexes/build-mode.js';
import { IndexBuilder } from '../indexes/builder.js';
import { ByteBudget } from '../lib/limit.js';
import { PushBack } from '../lib/push-back.js';
import { sleep } from '../lib/signals.js';
import { VerificationStore } from '../metadata/verification-store.js';
import { queueMeters } from '../metrics-queues.js';
import { storeForLater } from '../verify/initial-hashing.js';
import type { Verifier } from '../verify/verifier.js';
import { changesToApply } from './change-sources.js';
import type { Checkpoints } from './checkpoints.js';
import { storedOptions } from './options.js';
import type { RunContext } from './run-context.js';
import { type Applying, makeVerifier } from './verification.js';

const POLL_MS = 100;

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
  /** Of change event application; undefined before it. */
  checkpoints: Checkpoints | undefined;
  /** Copies a collection again while nothing is applied to it; undefined before change event application. */
  copyHeld: RepairContext['copyAgain'] | undefined;
}

/** The parts of a run that begins now. */
export function makeParts(context: RunContext): RunParts {
  const { documentFilter } = storedOptions(context.record.value);
  const filter = documentFilter === null ? undefined : new DocumentFilter(documentFilter);
  const parts: RunParts = {
    context,
    filter,
    copy: new CopyProgress(),
    indexes: indexBuilder(context, (signal) => caughtUp(parts, signal)),
    verifier: context.verifies ? makeVerifier(context, filter, () => applyingOf(parts)) : undefined,
    pipeline: undefined,
    checkpoints: undefined,
    copyHeld: undefined,
  };
  return parts;
}

function applyingOf({ pipeline, copyHeld }: RunParts): Applying | undefined {
  return pipeline === undefined || copyHeld === undefined ? undefined : { pipeline, copyHeld };
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
  const ranges = new LocalRangeCopier({
    source,
    destination,
    writer,
    budget: new ByteBudget(load.copyBytes, new PushBack({ ...queueMeters('copied documents'), logger: log })),
    logger: log,
  });
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
    naturalOrder: { named: copyInNaturalOrder, detectRandomId, detectAboveBytes: context.detectAboveBytes },
    partitionBytes: context.partitionBytes,
    filter,
  };
}

/**
 * Copies a collection anew: not before what the event that calls for it has seen. The verifier compares it as a whole
 * then, since its documents come without change events.
 */
export function copyAgainOf(parts: RunParts, writer: DocumentWriter): RepairContext['copyAgain'] {
  const copying = copyContextOf(parts, writer);
  const { source, record } = parts.context;
  const { verifier, filter } = parts;
  return async (collection, signal) => {
    // A capped one is copied once more, and none of its late changes is let pass.
    const looksPastCommit = filter !== undefined && parts.pipeline?.fence !== undefined && !collection.capped;
    if (looksPastCommit) await record.update({ readPastCommit: true }, signal);
    const copy = (): Promise<void> => copyAgain(copying, collection, source.now ?? startTimeOf(parts.context), signal);
    if (verifier !== undefined) return await verifier.whileCopied(collection, copy, signal);
    // This process does not verify; a later one may.
    await storeForLater({ source, filter, store: new VerificationStore(record.store) }, collection, signal);
    await copy();
  };
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
      changes: changesToApply(source, log),
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
      onWarning: context.onWarning,
      copyAgain: copyAgainOf(parts, writer),
      onLateEvent: async (event, signal) => {
        const { operation, collection, id, seconds } = event;
        const late = { operation, ns: namespaceOf(event), collection, id, seconds };
        const mayPass = filter !== undefined && !readsPastCommit();
        if (mayPass && !(await concernsFilter({ source, destination, collections }, filter, late, signal))) return;
        await judgeLateEvent(destination, collections, late, signal);
      },
    },
    record.value.commit?.time,
  );
}

/** Waits until what the source has now, and all that was written during the copy, is applied. */
async function caughtUp(parts: RunParts, signal: AbortSignal): Promise<void> {
  const { source, record } = parts.context;
  const now = await writeNote(source, 'indexes', signal);
  while (parts.pipeline === undefined) await sleep(POLL_MS, signal);
  await parts.pipeline.reached(record.value.copyEndTime ?? now, signal);
  await parts.pipeline.reached(now, signal);
}

function indexBuilder(context: RunContext, appliedAll: (signal: AbortSignal) => Promise<void>): IndexBuilder {
  const { destination, collections, load, logger, onWarning } = context;
  return new IndexBuilder({
    destination,
    collections,
    logger: logger.component('indexes'),
    wants: wantsIndex(context),
    parallelBuilds: load.parallelBuilds,
    caughtUp: appliedAll,
    onWarning,
  });
}
