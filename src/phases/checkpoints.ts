/** Stores how far change events are applied, from time to time. */
import type { ApplyStatus } from '../apply/pipeline.js';
import type { Position } from '../bson/position.js';
import type { Logger } from '../lib/logger.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { beat } from '../lib/signals.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { Lease } from '../metadata/lease.js';
import type { MetadataStore } from '../metadata/store.js';
import { metrics } from '../metrics.js';

const EVERY_MS = 1000;
const LAST_MS = 3000;

/** What checkpoints are stored with. */
export interface CheckpointContext {
  readonly held: { readonly store: Pick<MetadataStore, 'saveCheckpoint'>; readonly lease: Pick<Lease, 'held'> };
  readonly collections: Pick<CollectionMap, 'forgetDropped'>;
  readonly logger: Logger;
}

/** What checkpoints are made of: how far the application is. */
export interface CheckpointedPipeline {
  readonly status: Pick<ApplyStatus, 'safe'>;
}

/** Stores how far change events are applied: the safe position of the pipeline, from which a restart goes on. */
export class Checkpoints {
  readonly #context: CheckpointContext;
  readonly #pipeline: CheckpointedPipeline;
  readonly #queue = new SerialQueue();
  #stored: Position | undefined;

  constructor(context: CheckpointContext, pipeline: CheckpointedPipeline) {
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
        await beat(EVERY_MS, signal);
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
