/** Declares what progress and the conditions of a commit see of a verification. */
import type { Mismatches } from './mismatches.js';

/** How far the verification of one side is. */
export interface VerifierSideProgress {
  readonly phase: 'not started' | 'initial hashing' | 'stream hashing';
  readonly estimatedDocuments: number;
  readonly hashedDocuments: number;
  readonly collections: number;
  readonly scannedCollections: number;
  readonly lagSeconds: number | undefined;
}

/** Both sides. */
export interface VerifierProgress {
  readonly source: VerifierSideProgress;
  readonly destination: VerifierSideProgress;
}

/** A verification as others see it; read in memory, at any time. */
export interface VerifierView {
  readonly progress: VerifierProgress;
  readonly mismatches: Pick<Mismatches, 'counts' | 'total' | 'text'>;
  /** Documents of one collection, by its id, that the initial hashing has read. */
  hashedOf(collection: string): number;
  /** Why a commit would have to wait, or would fail, now; undefined when it need not. */
  obstacle(maxLagSeconds: number): string | undefined;
}

export const NOT_STARTED: VerifierSideProgress = {
  phase: 'not started',
  estimatedDocuments: 0,
  hashedDocuments: 0,
  collections: 0,
  scannedCollections: 0,
  lagSeconds: undefined,
};

export const NOT_COMPARED = 'the documents of both sides are being compared for the first time';

/** Of a migration that will be verified, or was by an earlier process. */
export const NOT_VERIFYING: VerifierView = {
  progress: { source: NOT_STARTED, destination: NOT_STARTED },
  mismatches: { counts: new Map(), total: 0, text: '' },
  hashedOf: () => 0,
  obstacle: () => NOT_COMPARED,
};
