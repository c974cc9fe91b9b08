/** Goes through the phases of a migration once, from where its record says it is. */
import { clusterError } from '../cluster/errors.js';
import type { CopyProgress } from '../copy/copy-progress.js';
import { isPastHandover } from '../cutover/commit.js';
import { AppError } from '../errors.js';
import type { IndexBuilder } from '../indexes/builder.js';
import { traced } from '../lib/trace.js';
import { NOT_VERIFYING, type VerifierView } from '../verify/verifier-view.js';
import { ApplyPhase } from './apply-phase.js';
import { fenceShards, stopBalancers } from './balancing.js';
import { CopyPhase } from './copy-phase.js';
import { FinishPhase } from './finish-phase.js';
import { InitialisePhase } from './initialise-phase.js';
import { NOTHING_YET, type Phase, type PhaseProgress } from './phase.js';
import type { RunContext } from './run-context.js';
import { Writers } from './writers.js';

/**
 * The work of a migration to the end of its commit, or until `signal` aborts: initialise → copy → apply (with index
 * builds and, once called, the commit) → finish. Each phase stores its end before the next begins.
 * Source: docs/02-lifecycle.md.
 */
export class MigrationRun {
  readonly #context: RunContext;
  #phase: Phase | undefined;
  /** Undefined past the handover, where nothing is written any more. */
  #writers: Writers | undefined;
  /** Of the phase that ended last, for what is no longer going on. */
  #last: PhaseProgress = NOTHING_YET;
  #eventsApplied: number;

  constructor(context: RunContext) {
    this.#context = context;
    this.#eventsApplied = context.record.value.eventsApplied;
  }

  get copy(): CopyProgress {
    return this.#context.copy;
  }

  get indexes(): IndexBuilder {
    return this.#context.indexes;
  }

  /** Undefined when the migration is not verified. */
  get verifier(): VerifierView | undefined {
    return this.#context.verifies ? (this.#progress.verifier ?? NOT_VERIFYING) : undefined;
  }

  get apply(): PhaseProgress['apply'] {
    return this.#progress.apply;
  }

  get eventsApplied(): number {
    return this.apply?.safe?.eventsApplied ?? this.#eventsApplied;
  }

  /** Whether what was written during the copy has been applied: only then are the applied states whole. */
  get drained(): boolean {
    const end = this.#context.record.value.copyEndTime;
    const safe = this.apply?.safeSeconds;
    return end !== undefined && safe !== undefined && safe >= end.getHighBitsUnsigned() && this.indexes.isOpen;
  }

  /** Reads how far earlier runs came, for progress. In PAUSED and COMMITTED nothing follows. */
  async load(signal: AbortSignal): Promise<void> {
    const { record, collections, copy, held } = this.#context;
    // The answer to the last change of an earlier run may have been lost.
    if (!record.isCertain) await record.refresh(signal);
    await collections.load(signal);
    copy.load(collections, await held.store.loadPartitions(signal));
    if (record.value.phase === 'apply' || record.value.phase === 'done') copy.finish();
    const applied = (await held.store.loadCheckpoint(signal))?.eventsApplied ?? 0;
    this.#eventsApplied = Math.max(this.#eventsApplied, applied);
  }

  /** Rejects with the AppError that ended it; resolves when the commit is complete. */
  async run(signal: AbortSignal): Promise<void> {
    const { record } = this.#context;
    try {
      // Nothing goes on that an earlier run, or another coordinator, has ordered.
      await this.#context.crew.settle(signal);
      await this.load(signal);
      await stopBalancers(this.#context, signal);
      await fenceShards(this.#context, signal);
      let next: Phase | undefined = await this.#firstPhase(signal);
      while (next !== undefined) {
        const phase: Phase = next;
        this.#phase = phase;
        next = await traced(phase.name, {}, () => phase.run(signal));
        // The next one tells nothing of what this one has applied.
        this.#eventsApplied = this.eventsApplied;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw clusterError(error, `migrating in phase ${record.value.phase}`);
    } finally {
      // Whatever has ended the run: nothing of its writers may come later.
      await this.#writers?.close();
      this.#eventsApplied = this.eventsApplied;
      this.#last = { apply: undefined, verifier: this.#progress.verifier };
      this.#phase = undefined;
    }
  }

  /**
   * Copies mismatches again, those of `ids` or all, and compares them. Resolves with how many were copied. Errors:
   * InvalidStateTransition when nothing is being verified.
   */
  async repair(ids: readonly string[], signal: AbortSignal): Promise<number> {
    if (this.#phase?.repair === undefined || !this.#context.verifies)
      throw new AppError('InvalidStateTransition', 'repair is not permitted: nothing is being verified now');
    return this.#phase.repair(new Set(ids), signal);
  }

  get #progress(): PhaseProgress {
    return this.#phase?.progress() ?? this.#last;
  }

  async #firstPhase(signal: AbortSignal): Promise<Phase> {
    const context = this.#context;
    const { value } = context.record;
    if (isPastHandover(value)) return new FinishPhase(context, undefined);
    const writers = await Writers.make(context, signal);
    this.#writers = writers;
    switch (value.phase) {
      case 'initialise':
        return new InitialisePhase(context, writers);
      case 'copy':
        return new CopyPhase(context, writers);
      default:
        return new ApplyPhase(context, writers);
    }
  }
}
