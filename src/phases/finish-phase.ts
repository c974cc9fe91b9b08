/** Runs the last phase: the commit from its point of no return on. */
import type { OrderedDoc } from '../bson/bson.js';
import { commitFromHandover } from '../cutover/commit.js';
import { dropKeyIndexes } from '../layout/key-indexes.js';
import { rejectOnAbort } from '../lib/signals.js';
import type { VerifierView } from '../verify/verifier-view.js';
import { startBalancers } from './balancing.js';
import type { Phase, PhaseProgress } from './phase.js';
import type { RunContext } from './run-context.js';

/**
 * Gives the destination to its applications and restores what was held back. What the server refuses then does not fail
 * the migration but leaves it in COMMITTING: the operator may mend the data and restart.
 */
export class FinishPhase implements Phase {
  readonly name = 'finalise';
  readonly #context: RunContext;
  readonly #verifier: VerifierView | undefined;

  /** `verifier`: of the phase before, whose last counts progress goes on to show; undefined after a restart. */
  constructor(context: RunContext, verifier: VerifierView | undefined) {
    this.#context = context;
    this.#verifier = verifier;
  }

  progress(): PhaseProgress {
    return { apply: undefined, verifier: this.#verifier };
  }

  async run(signal: AbortSignal): Promise<undefined> {
    const { destination, record, collections, isBuilt, listener } = this.#context;
    const logger = this.#context.logger.component('commit');
    const warnings = await commitFromHandover(
      { destination, record, collections, isBuilt, logger, onHandover: () => listener.changed() },
      signal,
    );
    for (const warning of await this.#dropKeyIndexes(signal)) listener.warn(warning);
    await startBalancers(this.#context, signal);
    for (const warning of warnings) listener.warn(warning);
    if (warnings.length === 0) return;
    logger.error('The commit is not complete', { warnings });
    await rejectOnAbort(signal);
  }

  #dropKeyIndexes(signal: AbortSignal): Promise<string[]> {
    const { destination, collections, isBuilt, options } = this.#context;
    const { buildIndexes, sharding } = options;
    const isBuiltFor = (key: OrderedDoc): boolean => isBuilt(new Map([['key', key]]));
    const isWanted = (key: OrderedDoc): boolean =>
      buildIndexes === 'never' || (sharding?.createSupportingIndexes === true && isBuiltFor(key));
    return dropKeyIndexes({ destination, collections, isBuilt, isWanted }, signal);
  }
}
