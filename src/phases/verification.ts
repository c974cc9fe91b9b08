/** Puts together the verifier of a run, and has a commit prove equality by it. */
import type { Timestamp } from '../bson/bson.js';
import { narrowing } from '../catalog/narrowing.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import type { CommitContext } from '../cutover/commit.js';
import { changesOfBoth } from '../documents/change-sources.js';
import type { CollectionSize } from '../documents/partition.js';
import { AppError } from '../errors.js';
import { SharedRangeScanner } from '../instances/shared-range-scanner.js';
import { traced } from '../lib/trace.js';
import { LocalRangeScanner, type RangeScanner } from '../matching/range-scanner.js';
import { startThread } from '../matching/worker-range-scanner.js';
import { VerificationStore } from '../metadata/verification-store.js';
import type { VerifyContext } from '../verify/context.js';
import { type FinalCheck, proveEqual, proveUntouched } from '../verify/final-check.js';
import { storeForLater } from '../verify/initial-hashing.js';
import { Verifier } from '../verify/verifier.js';
import type { Recopy } from './copying.js';
import type { RunContext } from './run-context.js';

const THREAD_DOCUMENTS = 20_000;
const THREAD_BYTES = 64 * 1024 * 1024;

/** Whether comparing so much is worth a thread and its connections. */
export function isWorthThread({ documents, bytes }: CollectionSize): boolean {
  return documents >= THREAD_DOCUMENTS || bytes >= THREAD_BYTES;
}

/** What the verifier needs of change event application. */
export type Applying = Pick<VerifyContext, 'applied'> & NonNullable<VerifyContext['recopy']>;

/** The verifier of a run. Its errors: DestinationModified when somebody dropped or renamed a collection; VerificationFailed. */
export function makeVerifier(context: RunContext, { applied, withoutApplying, copy }: Applying): Verifier {
  const { source, destination, scope, held, collections, load, filter, listener, crew } = context;
  const { parallelComparisons } = load;
  const logger = context.logger.component('verifier');
  const onWarning = (warning: string): void => listener.warn(warning);
  return new Verifier({
    source,
    destination,
    changes: changesOfBoth({ source, destination }, logger, context.pace),
    filter,
    narrowing: narrowing(scope.entries, (db) => scope.target({ db, coll: '' }).db),
    buildsNoIndexes: context.buildIndexes === 'never',
    store: new VerificationStore(held.store),
    collections,
    takeTime: (cluster, signal) => writeOplogNote(cluster, 'verification', signal),
    applied,
    startScanner: async (size, signal) => {
      const local = new LocalRangeScanner({ source, destination });
      const shared = (own: RangeScanner): RangeScanner => new SharedRangeScanner(crew, own, parallelComparisons);
      if (!isWorthThread(size)) return shared(local);
      const data = { source: source.access, destination: destination.access, maxPoolSize: parallelComparisons * 2 };
      return shared(await startThread(data, local, { logger, onWarning }, signal));
    },
    followsCatalog: true,
    onTakenAway: ({ name }) => {
      throw new AppError(
        'DestinationModified',
        `someone else dropped or renamed ${name}, so that it cannot be compared`,
      );
    },
    expiresOnBoth: false,
    recopy: { withoutApplying, copy },
    parallelRanges: () => crew.room('compare', parallelComparisons),
    logger,
    onWarning,
    onChange: () => listener.changed(),
  });
}

/**
 * `copy`, made known to the verifier: it compares the collection as a whole then, since its documents come without change
 * events. Where this process does not verify it is stored, since a later one may.
 */
export function rememberRecopy(
  { source, filter, held }: Pick<RunContext, 'source' | 'filter' | 'held'>,
  verifier: Verifier | undefined,
  copy: Recopy,
): Recopy {
  return async (collection, signal) => {
    if (verifier !== undefined) return await verifier.whileCopied(collection, () => copy(collection, signal), signal);
    await storeForLater({ source, filter, store: new VerificationStore(held.store) }, collection, signal);
    await copy(collection, signal);
  };
}

/** What a commit proves, where the data is verified. */
export function proofsOf(
  context: Pick<RunContext, 'source' | 'destination' | 'filter' | 'collections' | 'isBuilt' | 'blocksSource'>,
  verifier: Verifier | undefined,
): Pick<CommitContext, 'verifies' | 'verified' | 'untouched'> {
  if (verifier === undefined)
    return { verifies: false, verified: () => Promise.resolve(), untouched: () => Promise.resolve() };
  const { source, destination, filter, collections, isBuilt, blocksSource } = context;
  const pair = { source, destination, filter };
  const check: FinalCheck = { pair, verifier, collections, isBuilt, sourceExpires: !blocksSource };
  return {
    verifies: true,
    verified: async (time: Timestamp, signal: AbortSignal) => {
      const ends = { source: time, destination: await writeOplogNote(destination, 'verification', signal) };
      await traced('verify the end', {}, () => proveEqual(check, ends, signal));
    },
    untouched: (time, end, signal) => proveUntouched(check, { source: time, destination: end }, signal),
  };
}
