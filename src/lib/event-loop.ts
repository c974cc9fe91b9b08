/** Measures for how long the event loop was held up. */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 20;
const WINDOW_MS = 10_000;

/**
 * For how long the event loop is held up: while it is, no call is answered, no signal heard and no lease renewed. Tells
 * the longest time of the last one to two windows of 10 s.
 */
export class EventLoopDelay implements Disposable {
  /** One begins before the other ends: what happens right after its beginning, or a reset, a histogram does not see. */
  #older = histogram();
  #newer = histogram();
  readonly #timer: NodeJS.Timeout;

  /** `onWindow` hears at the end of each window of the longest time in it. */
  constructor(onWindow: (longestMs: number) => void = () => undefined) {
    this.#timer = setInterval(() => {
      onWindow(longestIn(this.#newer));
      this.#older.disable();
      this.#older = this.#newer;
      this.#newer = histogram();
    }, WINDOW_MS);
    this.#timer.unref();
  }

  get longestMs(): number {
    return Math.max(longestIn(this.#older), longestIn(this.#newer));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#older.disable();
    this.#newer.disable();
  }
}

function histogram(): IntervalHistogram {
  const made = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  made.enable();
  return made;
}

/** What is measured are the times between two ticks of a timer. */
function longestIn({ max }: IntervalHistogram): number {
  return Math.max(0, max / 1e6 - RESOLUTION_MS);
}
