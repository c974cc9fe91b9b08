/** Declares a phase: one part of a migration's work, which ends by storing where the next one begins. */
import type { ApplyStatus } from '../apply/pipeline.js';
import type { VerifierView } from '../verify/verifier-view.js';

/** What progress shows of a phase, besides the counts of the copy and of the indexes, which outlive it. */
export interface PhaseProgress {
  /** Undefined while no change events are applied. */
  readonly apply: ApplyStatus | undefined;
  /** Undefined before the phase that verifies. */
  readonly verifier: VerifierView | undefined;
}

/**
 * A part of the work: initialise, copy, apply or finish. It makes what it works with when it is made, in order, and owns
 * it; `run` may be called once.
 */
export interface Phase {
  /** For traces, e.g. "collection copy". */
  readonly name: string;
  /**
   * Works until the phase is stored as done. Resolves with the next one, undefined after the last. Rejects with what ended
   * it, and with the signal's reason.
   */
  run(signal: AbortSignal): Promise<Phase | undefined>;
  progress(): PhaseProgress;
  /**
   * Copies mismatches again, those of `ids` or all when it is empty, and has them compared; resolves with how many were
   * copied. Only of the phase that verifies.
   */
  repair?(ids: ReadonlySet<string>, signal: AbortSignal): Promise<number>;
}

/** Of phases that neither apply nor verify. */
export const NOTHING_YET: PhaseProgress = { apply: undefined, verifier: undefined };
