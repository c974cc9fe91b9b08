/** Repeats work that an error has interrupted, and decides when to give it up. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError, describeError, isWorthAnotherRun } from '../cluster/errors.js';
import { type FcvCluster, loweredFcv } from '../cluster/feature-version.js';
import { AppError, ExitCode } from '../errors.js';
import { backoffDelayMs } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort, sleep } from '../lib/signals.js';
import type { Task } from '../lib/tasks.js';

/** How far the work has come: a stage, or what is done in it, which only grows. */
export interface Reached {
  readonly stage: string;
  readonly events: number;
  readonly bytes: number;
}

/** From how long on a run that has begun again is taken to go on. */
const QUIET_MS = 10_000;
const LOOK_MS = 5000;

/** What an interruption asks, and whom it tells. */
export interface InterruptionHooks {
  readonly reached: () => Reached;
  readonly onChange: () => void;
}

/** The clusters whose work is interrupted. */
export interface InterruptedClusters {
  readonly source: FcvCluster;
  readonly destination: FcvCluster & Pick<Cluster, 'retryLimitMs'>;
}

/**
 * Has a piece of work done in spite of what interrupts it. Only what is known to be a dead end ends a migration: any other
 * error has the work begin again where its record says, as a restart of the process would, with a warning that names
 * it. After 30 minutes in which it came no further the process ends with 1, and nothing is stored.
 */
export class Interruption {
  readonly #held: InterruptedClusters;
  readonly #logger: Logger;
  readonly #hooks: InterruptionHooks;
  #reached: Reached | undefined;
  #text: string | undefined;

  constructor(held: InterruptedClusters, logger: Logger, hooks: InterruptionHooks) {
    this.#held = held;
    this.#logger = logger;
    this.#hooks = hooks;
  }

  /** What is waited for, for `warnings`; undefined while the work goes on. */
  get text(): string | undefined {
    return this.#text;
  }

  /** Rejects with the error that ends the process. */
  async outlast(task: Task<void>, signal: AbortSignal): Promise<void> {
    const limitMs = this.#held.destination.retryLimitMs;
    let sinceMs: number | undefined;
    try {
      for (let attempt = 1; ; attempt++) {
        const error = await this.#endOf(task, signal);
        if (error === undefined) return;
        const now = performance.now();
        const cause = (await this.#causeOf(signal)) ?? error.message;
        if (this.#cameFurther() || sinceMs === undefined) [sinceMs, attempt] = [now, 1];
        const delayMs = backoffDelayMs(attempt + 3);
        if (now - sinceMs + delayMs > limitMs) throw lasting(error, cause, limitMs);
        this.#tell(`The migration was interrupted and continues where it was: ${cause}`);
        await sleep(delayMs, signal);
      }
    } finally {
      this.#tell(undefined);
    }
  }

  /** Since it was asked the last time. */
  #cameFurther(): boolean {
    const before = this.#reached;
    const now = this.#hooks.reached();
    const [events, bytes] = [Math.max(before?.events ?? 0, now.events), Math.max(before?.bytes ?? 0, now.bytes)];
    this.#reached = { stage: now.stage, events, bytes };
    return before?.stage !== now.stage || events > before.events || bytes > before.bytes;
  }

  /** Undefined when the work is done. Rejects with what no other try can mend. */
  async #endOf(task: Task<void>, signal: AbortSignal): Promise<AppError | undefined> {
    const running = task(signal);
    // If it is not over, it is told once more.
    const quiet = setTimeout(() => this.#tell(undefined), QUIET_MS);
    try {
      await running;
      return undefined;
    } catch (reason) {
      signal.throwIfAborted();
      const error = clusterError(reason, 'migrating');
      if (!isWorthAnotherRun(error)) throw error;
      return error;
    } finally {
      clearTimeout(quiet);
    }
  }

  /** What an operator must put right, where the clusters tell; the server's answers name the consequences only. */
  async #causeOf(signal: AbortSignal): Promise<string | undefined> {
    const looks = [this.#held.destination, this.#held.source].map(async (cluster) => {
      try {
        return await looked(cluster, signal);
      } catch (error) {
        this.#logger.debug(`The featureCompatibilityVersion could not be read: ${describeError(error)}`);
        return undefined;
      }
    });
    return (await Promise.all(looks)).find((text) => text !== undefined);
  }

  #tell(text: string | undefined): void {
    if (text === this.#text) return;
    this.#text = text;
    if (text !== undefined) this.#logger.warn(text);
    this.#hooks.onChange();
  }
}

async function looked(cluster: FcvCluster, signal: AbortSignal): Promise<string | undefined> {
  using link = linkAbort(signal);
  const timer = setTimeout(() => link.abort(new Error('it took too long')), LOOK_MS);
  try {
    return await loweredFcv(cluster, link.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** It keeps its name where that says what is wrong; none of them is stored. */
function lasting(error: AppError, cause: string, limitMs: number): AppError {
  const name = error.row.exit === ExitCode.retryable ? error.code : 'CommandRefused';
  return new AppError(name, `${cause}. Tried again for ${Math.round(limitMs / 60_000)} minutes`, { cause: error });
}
