/** Measures for how long the event loop was held up. */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** Each look wakes the process, which is most of what it costs when there is nothing to do. */
const RESOLUTION_MS = 100;
const WINDOW_MS = 10_000;
/** What happens right after its beginning, or a reset, a histogram does not see: so long two of them look. */
const OVERLAP_MS = 1000;

/**
 * For how long the event loop is held up: while it is, no call is answered, no signal heard and no lease renewed. Tells
 * the longest time of the last one to two windows of 10 s.
 */
export class EventLoopDelay implements Disposable {
  #current = histogram();
  #ending: IntervalHistogram | undefined;
  /** Of the window before. */
  #lastMs = 0;
  readonly #timer: NodeJS.Timeout;

  /** `onWindow` hears at the end of each window of the longest time in it. */
  constructor(onWindow: (longestMs: number) => void = () => undefined) {
    this.#timer = setInterval(() => {
      this.#lastMs = longestIn(this.#current);
      onWindow(this.#lastMs);
      this.#ending = this.#current;
      this.#current = histogram();
      setTimeout(() => this.#endOverlap(), OVERLAP_MS).unref();
    }, WINDOW_MS);
    this.#timer.unref();
  }

  get longestMs(): number {
    const ending = this.#ending === undefined ? 0 : longestIn(this.#ending);
    return Math.max(this.#lastMs, ending, longestIn(this.#current));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#endOverlap();
    this.#current.disable();
  }

  #endOverlap(): void {
    if (this.#ending === undefined) return;
    this.#lastMs = Math.max(this.#lastMs, longestIn(this.#ending));
    this.#ending.disable();
    this.#ending = undefined;
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
