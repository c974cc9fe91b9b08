/** Answers the call Progress: a stream of snapshots. */
import { AppError } from '../../errors.js';
import type { FailureRecord } from '../../metadata/records.js';
import type { MigrationControl, Snapshot } from '../../progress/control.js';
import { costlyWork } from '../limits.js';
import { encodeProgressResponse } from '../wire/progress.js';
import { type ProgressStreamOptions, readProgressRequest } from '../wire/read-requests.js';
import type { Call } from './handler.js';

/**
 * Streams progress: the first message at once, then one whenever state, phase or flags change and at least one per
 * interval. Changes that happen while the reader is busy are one message, made when it comes back.
 *
 * Ends after COMMITTED, unless the migration can be reversed or the caller wants to follow; ends with MigrationFailed
 * behind the last snapshot of a failed migration. Rejects with the signal's reason.
 */
export async function* progress({ control, request, signal }: Call): AsyncGenerator<Uint8Array, void, undefined> {
  const options = readProgressRequest(request);
  using changes = new Changes(control, signal);
  for (;;) {
    // Of 50,000 namespaces; each stream may ask for them ten times a second.
    if (options.details === 'all') await costlyWork.next();
    changes.reset();
    const snapshot = control.snapshot();
    yield encodeProgressResponse({ snapshot, namespaces: control.namespaces(), details: options.details });
    signal.throwIfAborted();
    if (snapshot.failure !== undefined) throw failureError(snapshot.failure);
    if (isLast(snapshot, options)) return;
    await changes.wait(options.intervalMs);
  }
}

function isLast(snapshot: Snapshot, options: ProgressStreamOptions): boolean {
  return snapshot.state === 'COMMITTED' && !snapshot.reversible && !options.follow;
}

function failureError(failure: FailureRecord): AppError {
  return new AppError('MigrationFailed', `${failure.error}: ${failure.description}`, {
    metadata: { cause: failure.error, failedAt: failure.at.toISOString() },
  });
}

/** Waits for the next change or the end of the interval. Holds one listener on each of its sources until disposed. */
class Changes {
  readonly #signal: AbortSignal;
  readonly #unsubscribe: () => void;
  readonly #onAbort = (): void => this.#wake?.();
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(control: MigrationControl, signal: AbortSignal) {
    this.#signal = signal;
    this.#unsubscribe = control.onChange(() => {
      this.#changed = true;
      this.#wake?.();
    });
    signal.addEventListener('abort', this.#onAbort);
  }

  /** Forgets the changes so far: the snapshot that is taken next shows them. */
  reset(): void {
    this.#changed = false;
  }

  /** Resolves at a change since the last reset, or after `ms` milliseconds. Rejects when the signal aborts. */
  async wait(ms: number): Promise<void> {
    this.#signal.throwIfAborted();
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}
