import type { ApplyPipeline } from '../apply/pipeline.js';
import type { RepairContext } from '../apply/repair.js';
import type { OrderedDoc, Timestamp } from '../cluster/bson.js';
import type { DocumentFilter } from '../cluster/document-filter.js';
import { narrowing } from '../cluster/narrowing.js';
import { writeNote } from '../cluster/notes.js';
import type { CollectionSize } from '../cluster/partition.js';
import type { CommitContext } from '../cutover/commit.js';
import { AppError, InvariantError } from '../errors.js';
import { traced } from '../lib/trace.js';
import { VerificationStore } from '../metadata/verification-store.js';
import { type FinalCheck, proveEqual, proveUntouched } from '../verify/final-check.js';
import { LocalRangeScanner } from '../verify/range-scanner.js';
import { Verifier } from '../verify/verifier.js';
import { startThread } from '../verify/worker-range-scanner.js';
import { changesOfBoth } from './change-sources.js';
import type { RunContext } from './run-context.js';

const THREAD_DOCUMENTS = 20_000;
const THREAD_BYTES = 64 * 1024 * 1024;

/** Whether comparing so much is worth a thread and its connections. */
export function isWorthThread({ documents, bytes }: CollectionSize): boolean {
  return documents >= THREAD_DOCUMENTS || bytes >= THREAD_BYTES;
}

/** What the verifier needs of change event application, while that goes on. */
export interface Applying {
  readonly pipeline: Pick<ApplyPipeline, 'reached'>;
  /** Copies a collection again while nothing is applied to it. */
  readonly copyHeld: RepairContext['copyAgain'];
}

/** The verifier of a run. */
export function makeVerifier(
  context: RunContext,
  filter: DocumentFilter | undefined,
  applying: () => Applying | undefined,
): Verifier {
  const { source, destination, scope, record, collections, load, logger, onWarning, onChange } = context;
  const log = logger.component('verifier');
  return new Verifier({
    source,
    destination,
    changes: changesOfBoth({ source, destination }, log),
    filter,
    narrowing: narrowing(scope.entries, (db) => scope.target({ db, coll: '' }).db),
    buildsNoIndexes: context.buildIndexes === 'never',
    store: new VerificationStore(record.store),
    collections,
    mark: (cluster, signal) => writeNote(cluster, 'verification', signal),
    applied: async (time, signal) => applying()?.pipeline.reached(time, signal),
    startScanner: async (size, signal) => {
      const local = new LocalRangeScanner({ source, destination });
      if (!isWorthThread(size)) return local;
      const maxPoolSize = load.parallelComparisons * 2;
      const data = { source: source.access, destination: destination.access, maxPoolSize };
      return startThread(data, local, { logger: log, onWarning }, signal);
    },
    followsCatalog: true,
    onTakenAway: ({ name }) => {
      throw new AppError('DestinationModified', `${name} could not be found to compare it: someone else took it away`);
    },
    expiresOnBoth: false,
    copyAgain: (collection, signal) => held(applying())(collection, signal),
    parallelRanges: load.parallelComparisons,
    logger: log,
    onWarning,
    onChange,
  });
}

function held(applying: Applying | undefined): RepairContext['copyAgain'] {
  if (applying === undefined) throw new InvariantError('a collection is to be copied again while nothing is applied');
  return applying.copyHeld;
}

/** What a commit proves, where the data is verified. */
export function proofsOf(
  { context, filter, verifier }: VerifiedRun,
  isBuilt: (spec: OrderedDoc) => boolean,
  copyAgain: FinalCheck['copyAgain'],
): Pick<CommitContext, 'verifies' | 'verified' | 'untouched'> {
  if (verifier === undefined)
    return { verifies: false, verified: () => Promise.resolve(), untouched: () => Promise.resolve() };
  const { source, destination, collections, blocksSource } = context;
  const pair = { source, destination, filter };
  const check: FinalCheck = { pair, verifier, collections, isBuilt, sourceExpires: !blocksSource, copyAgain };
  return {
    verifies: true,
    verified: async (time: Timestamp, signal: AbortSignal) => {
      const ends = { source: time, destination: await writeNote(destination, 'verification', signal) };
      await traced('verify the end', {}, () => proveEqual(check, ends, signal));
    },
    untouched: (time, end, signal) => proveUntouched(check, { source: time, destination: end }, signal),
  };
}

/** The parts of a run that matter here. */
export interface VerifiedRun {
  readonly context: RunContext;
  readonly filter: DocumentFilter | undefined;
  /** Undefined when the migration is not verified. */
  readonly verifier: Verifier | undefined;
}
