/** Measures for how long the event loop was held up. */
import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks';

/**
 * Between two looks: what held the loop up is seen to have taken this much less, at worst. Each look wakes the process,
 * which is most of what it costs where there is nothing to do: so a calm process is looked at more seldom.
 */
const BUSY_LOOK_MS = 100;
const CALM_LOOK_MS = 500;
/** Of a window: a process that is busy for less is calm in the next one. */
const BUSY_SHARE = 0.05;
const WINDOW_MS = 10_000;
/** What happens right after its beginning, or a reset, a histogram does not see: for so much of a window two of them look. */
const OVERLAP_SHARE = 1 / 10;

/**
 * For how long the event loop is held up: while it is, no call is answered, no signal heard and no lease renewed. Tells
 * the longest time of the last one to two windows of 10 s.
 */
export class EventLoopDelay implements Disposable {
  #current = new Looks(BUSY_LOOK_MS);
  #ending: Looks | undefined;
  /** Of the window before. */
  #lastMs = 0;
  #used = performance.eventLoopUtilization();
  readonly #timer: NodeJS.Timeout;

  /** `onWindow` hears at the end of each window of the longest time in it. */
  constructor(onWindow: (longestMs: number) => void = () => undefined, windowMs: number = WINDOW_MS) {
    this.#timer = setInterval(() => {
      this.#lastMs = this.#current.longestMs;
      onWindow(this.#lastMs);
      this.#ending = this.#current;
      this.#current = new Looks(this.#isBusy() ? BUSY_LOOK_MS : CALM_LOOK_MS);
      setTimeout(() => this.#endOverlap(), windowMs * OVERLAP_SHARE).unref();
    }, windowMs);
    this.#timer.unref();
  }

  get longestMs(): number {
    return Math.max(this.#lastMs, this.#ending?.longestMs ?? 0, this.#current.longestMs);
  }

  /** Between two looks: by so much less may be told. */
  get lookMs(): number {
    return this.#current.everyMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#endOverlap();
    this.#current.end();
  }

  /** Whether it was in the window that ends. */
  #isBusy(): boolean {
    const { utilization } = performance.eventLoopUtilization(this.#used);
    this.#used = performance.eventLoopUtilization();
    return utilization >= BUSY_SHARE;
  }

  #endOverlap(): void {
    if (this.#ending === undefined) return;
    this.#lastMs = Math.max(this.#lastMs, this.#ending.longestMs);
    this.#ending.end();
    this.#ending = undefined;
  }
}

/** The looks of one window. */
class Looks {
  readonly everyMs: number;
  readonly #times: IntervalHistogram;

  constructor(everyMs: number) {
    this.everyMs = everyMs;
    this.#times = monitorEventLoopDelay({ resolution: everyMs });
    this.#times.enable();
  }

  /** What is measured are the times between two ticks of a timer. */
  get longestMs(): number {
    return Math.max(0, this.#times.max / 1e6 - this.everyMs);
  }

  end(): void {
    this.#times.disable();
  }
}
