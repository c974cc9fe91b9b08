/** Makes what a verification works with, for tests of parts of one. */
import { liveChanges } from '../../src/documents/change-stream.js';
import { AppError, InvariantError } from '../../src/errors.js';
import type { VerifyContext } from '../../src/verify/context.js';
import { MemoryVerificationState } from '../../src/verify/memory-state.js';
import { silentLogger } from './silent-logger.js';

/** What a test gives of a verification itself. */
export type VerifiedParts = Pick<VerifyContext, 'source' | 'destination' | 'collections'> & Partial<VerifyContext>;

/** A verification that follows a migration, remembers in memory and copies nothing again, but for what is given. */
export function verifyContext(parts: VerifiedParts): VerifyContext {
  const { source, destination } = parts;
  return {
    changes: { source: liveChanges(source, silentLogger), destination: liveChanges(destination, silentLogger) },
    filter: undefined,
    store: new MemoryVerificationState(),
    narrowing: { source: [], destination: [] },
    buildsNoIndexes: false,
    takeTime: async ({ name, now }) => {
      if (now === undefined) throw new InvariantError(`${name} has told no time`);
      return now;
    },
    applied: async () => undefined,
    startScanner: () => Promise.reject(new Error('nothing is to be scanned')),
    followsCatalog: true,
    onTakenAway: ({ name }) => {
      throw new AppError('DestinationModified', name);
    },
    expiresOnBoth: false,
    recopy: undefined,
    parallelRanges: 1,
    logger: silentLogger,
    onWarning: () => undefined,
    onChange: () => undefined,
    ...parts,
  };
}
