/** Retries work with growing, random waits. */
import { type Clock, systemClock } from './clock.js';
import { sleep } from './signals.js';

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 30_000;

/** How long a caller may go on retrying unless it says otherwise: 30 minutes. */
export const DEFAULT_MAX_ELAPSED_MS = 30 * 60_000;

/** One failed try that will be followed by another. */
export interface RetryNotice {
  /** 1 for the first try. */
  readonly attempt: number;
  readonly error: unknown;
  /** Milliseconds until the next try. */
  readonly delayMs: number;
  /** Milliseconds since the first failure after which nothing went on. */
  readonly elapsedMs: number;
  /** Grows with the attempts: a blip is not worth a warning, an outage is. */
  readonly level: 'debug' | 'info' | 'warn';
}

/** How to retry. `clock`, `wait` and `random` are for tests. */
export interface RetryOptions {
  /** Whether another try may help; asked with the error of each failed try. */
  readonly isRetryable: (error: unknown) => boolean;
  /** Ends the waiting at once. */
  readonly signal: AbortSignal;
  /** Milliseconds from the first failure after which no further try begins. Default 30 minutes. */
  readonly maxElapsedMs?: number;
  /** Called with the error that ends the trying because the time is over. */
  readonly onExhausted?: (error: unknown) => void;
  /** Called before each wait; the place for a log line, a metric and a visible warning. */
  readonly onRetry?: (notice: RetryNotice) => void;
  readonly clock?: Clock;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** In [0, 1). */
  readonly random?: () => number;
}

/**
 * Tries `fn` until it resolves, with waits that double from 100 ms to 30 s, each drawn from its upper half so that
 * clients do not return in step. Work that goes on where the last try stopped calls `progressed` for every step: waits
 * and the time limit begin anew with the failure after it. Rejects with the error of the last try when it is not retryable or the time is over,
 * and with the signal's reason when it aborts during a wait.
 */
export async function retry<T>(
  fn: (attempt: number, progressed: () => void) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { isRetryable, signal, onRetry } = options;
  const clock = options.clock ?? systemClock;
  const wait = options.wait ?? sleep;
  const maxElapsedMs = options.maxElapsedMs ?? DEFAULT_MAX_ELAPSED_MS;
  let failingSinceMs: number | undefined;
  let attempt = 1;
  const progressed = (): void => {
    failingSinceMs = undefined;
    attempt = 1;
  };
  for (; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await fn(attempt, progressed);
    } catch (error) {
      const now = clock.monotonicMs();
      failingSinceMs ??= now;
      const elapsedMs = now - failingSinceMs;
      const delayMs = backoffDelayMs(attempt, options.random);
      if (signal.aborted || !isRetryable(error)) throw error;
      if (elapsedMs + delayMs > maxElapsedMs) {
        options.onExhausted?.(error);
        throw error;
      }
      onRetry?.({ attempt, error, delayMs, elapsedMs, level: levelOf(attempt) });
      await wait(delayMs, signal);
    }
  }
}

/** The wait after the `attempt`-th failure, in milliseconds: at most 30 s. */
export function backoffDelayMs(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt - 1, 30));
  return ceiling / 2 + (random() * ceiling) / 2;
}

function levelOf(attempt: number): RetryNotice['level'] {
  if (attempt <= 2) return 'debug';
  return attempt <= 5 ? 'info' : 'warn';
}
