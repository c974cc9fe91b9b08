/** Stores how far change events are applied, from time to time. */
import type { ApplyPipeline } from '../apply/pipeline.js';
import type { Position } from '../bson/position.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { sleep } from '../lib/signals.js';
import { metrics } from '../metrics.js';
import type { RunContext } from './run-context.js';

const EVERY_MS = 1000;
const LAST_MS = 3000;

/** Stores how far change events are applied: the safe position of the pipeline, from which a restart goes on. */
export class Checkpoints {
  readonly #context: Pick<RunContext, 'held' | 'collections' | 'logger'>;
  readonly #pipeline: ApplyPipeline;
  readonly #queue = new SerialQueue();
  #stored: Position | undefined;

  constructor(context: Pick<RunContext, 'held' | 'collections' | 'logger'>, pipeline: ApplyPipeline) {
    this.#context = context;
    this.#pipeline = pipeline;
  }

  /**
   * Stores the present position, if it has moved. One after the other, so that a slow store of an earlier position does
   * not replace a later one.
   */
  store(signal: AbortSignal): Promise<void> {
    return this.#queue.run(() => this.#store(signal));
  }

  async #store(signal: AbortSignal): Promise<void> {
    const { safe } = this.#pipeline.status;
    if (safe === undefined || safe.position.equals(this.#stored)) return;
    await this.#context.held.store.saveCheckpoint(safe, signal);
    metrics.checkpoints.add(1);
    this.#stored = safe.position;
    await this.#context.collections.forgetDropped(safe.position, signal);
  }

  /** Stores it every second until `signal` aborts, and once more in the end. */
  async keep(signal: AbortSignal): Promise<void> {
    const { held, logger } = this.#context;
    try {
      for (;;) {
        await sleep(EVERY_MS, signal);
        await this.store(signal);
      }
    } finally {
      // Where a pause, a stop or a failure left off; what is not stored would only be applied again.
      if (held.lease.held)
        await this.store(AbortSignal.timeout(LAST_MS)).catch((error: unknown) =>
          logger.debug('The last checkpoint was not stored', { error }),
        );
    }
  }
}
