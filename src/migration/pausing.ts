/** Pauses a migration: the caller is answered within a bounded time, whatever the work under way waits for. */
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { type Deferred, deferred, type Task } from '../lib/tasks.js';
import type { Moves } from './moves.js';

/** How long a caller waits for the work under way to end, in milliseconds. */
const PAUSE_MS = 10_000;

/** A pause that its first caller was not able to wait for. */
interface Unfinished {
  readonly text: string;
  readonly done: Deferred<void>;
}

/** What is paused. */
export interface Pausable {
  /** Has the work end, and resolves once it has. */
  readonly stop: () => Promise<void>;
  /** Stores the pause, once nothing writes any more. */
  readonly store: Task<void>;
  /** What the clusters have not answered yet, for people. */
  readonly waits: () => readonly string[];
}

/**
 * PAUSED may be told only when nothing writes any more, so what has been sent to the destination is waited for: a
 * `drop` that a server holds up, or an insert that it has not answered. Reads are ended. Where that takes longer than
 * ten seconds the caller is told so by name, the pause goes on by itself, all other calls are refused, and a repeated
 * call goes on waiting for the same pause.
 */
export class Pausing {
  readonly #moves: Pick<Moves, 'later'>;
  readonly #logger: Logger;
  readonly #limitMs: number;
  #unfinished: Unfinished | undefined;

  /** `limitMs` is for tests. */
  constructor(moves: Pick<Moves, 'later'>, logger: Logger, limitMs: number = PAUSE_MS) {
    this.#moves = moves;
    this.#logger = logger;
    this.#limitMs = limitMs;
  }

  /** Whether an earlier call's pause is still going on. */
  get isUnfinished(): boolean {
    return this.#unfinished !== undefined;
  }

  /** Waits for an earlier call's pause. Errors: OutcomeUnknown when it is not over in time; those of the pause. */
  async waitAgain(): Promise<void> {
    const unfinished = this.#unfinished;
    if (unfinished === undefined) return;
    const { done, text } = unfinished;
    if (!(await settlesWithin(done.promise, this.#limitMs))) throw new AppError('OutcomeUnknown', text);
    await done.promise;
  }

  /** In the turn of a call. Errors: OutcomeUnknown when the work does not end in time; those of storing the pause. */
  async pause({ stop, store, waits }: Pausable, signal: AbortSignal): Promise<void> {
    const stopping = stop();
    if (await settlesWithin(stopping, this.#limitMs)) {
      await stopping;
      return store(signal);
    }
    const waited = waits();
    const why = waited.length === 0 ? '' : `: ${waited.join('; ')}`;
    const text = `the migration is not paused yet, because work is still under way${why}. It is PAUSED as soon as that work has ended: look at progress, or call pause again to wait for it`;
    const unfinished = { text, done: deferred<void>() };
    this.#unfinished = unfinished;
    this.#moves.later(text, async (inner) => {
      try {
        await stopping;
        await store(inner);
        unfinished.done.resolve();
      } catch (error) {
        // Not stored: the migration goes on, as progress says, or has failed for a reason of its own.
        this.#logger.warn('The pause was given up', { error });
        unfinished.done.reject(error);
      } finally {
        this.#unfinished = undefined;
      }
    });
    throw new AppError('OutcomeUnknown', text);
  }
}
