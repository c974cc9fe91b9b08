/** Looks for a migration that another instance has begun, while this one is IDLE. */
import { AppError } from '../errors.js';
import { rejectOnAbort, sleep } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { type Found, findMigration } from '../start/recover.js';
import type { MigrationProcess } from './migration-process.js';

const LOOK_MS = 1000;
/** How long a start of this instance waits for the one that another instance is carrying out. */
const START_MS = 30_000;
const START_LOOK_MS = 250;

/** The look-out of an instance that has a name: one without one never looks. */
export class Others {
  readonly #process: MigrationProcess;
  #begun: Deferred<void> = deferred();
  #starts = 0;

  constructor(process: MigrationProcess) {
    this.#process = process;
  }

  /** Resolves once another instance has begun a migration while this one is IDLE. Rejects with the signal's reason. */
  async begun(signal: AbortSignal): Promise<void> {
    if (this.#process.config.instanceIsNamed !== true) await rejectOnAbort(signal);
    for (;;) {
      await Promise.race([this.#begun.promise, sleep(LOOK_MS, signal)]);
      this.#begun = deferred();
      if (this.#starts > 0 || !this.#isIdle) continue;
      const found = await this.#find();
      if (this.#starts === 0 && this.#isIdle && found !== undefined && found.record.starting !== true) return;
    }
  }

  /**
   * Carries out a start of this instance. Resolves with false where another instance was first, which is helped then.
   * Errors: those of `start`, when nobody else has begun a migration.
   */
  async start(start: () => Promise<void>): Promise<boolean> {
    if (this.#process.config.instanceIsNamed !== true) {
      await start();
      return true;
    }
    this.#starts++;
    try {
      await start();
      return true;
    } catch (error) {
      // The other one was found meanwhile.
      if (this.#process.state === 'INITIALIZING') return false;
      if (!this.#isIdle || !(await this.#isBegunElsewhere(error))) throw error;
      return false;
    } finally {
      this.#starts--;
      this.#begun.resolve();
    }
  }

  /** Another one's start may still be under way: whether it becomes a migration is waited for. */
  async #isBegunElsewhere(error: unknown): Promise<boolean> {
    const beganMs = performance.now();
    const isHeld = error instanceof AppError && error.code === 'LeaseHeld';
    while (performance.now() - beganMs < START_MS) {
      const found = await this.#find();
      if (found !== undefined && found.record.starting !== true) return true;
      if (found === undefined && !isHeld) return false;
      await sleep(START_LOOK_MS, this.#process.signal);
    }
    return false;
  }

  get #isIdle(): boolean {
    return this.#process.state === 'IDLE' && this.#process.session === undefined;
  }

  async #find(): Promise<Found | undefined> {
    const { db, logger, signal, clusters } = this.#process;
    const [cluster0, cluster1] = ['cluster0', 'cluster1'].map((name) => clusters.find((each) => each.name === name));
    if (cluster0 === undefined || cluster1 === undefined) return undefined;
    try {
      return await findMigration([cluster0, cluster1], db, () => undefined, signal);
    } catch (error) {
      signal.throwIfAborted();
      logger.debug('A migration of another instance could not be looked for', { error });
      return undefined;
    }
  }
}
