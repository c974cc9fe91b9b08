/** Decides how long reads of change streams wait for events: short while somebody waits for them to get somewhere. */

/** While something waits: the position behind all that there is comes with the end of a read's wait. */
const HURRIED_MS = 20;
/** From so many milliseconds without an event on, a stream is idle: its reads wait longer, which costs less. */
const IDLE_AFTER_MS = 10_000;
const IDLE_FACTOR = 2;

/** Shared by all streams of one run. */
export class StreamPace {
  #hurriedUntilMs = Number.NEGATIVE_INFINITY;

  /** Reads wait shortly for so many milliseconds from now on; `Infinity`: for good. */
  hurry(ms: number): void {
    this.#hurriedUntilMs = Math.max(this.#hurriedUntilMs, performance.now() + ms);
  }

  /** How long the next read may wait, in milliseconds. `usualMs`: what its reader wants; `quietMs`: since its last event. */
  waitMs(usualMs: number, quietMs: number): number {
    if (performance.now() < this.#hurriedUntilMs) return Math.min(usualMs, HURRIED_MS);
    return quietMs > IDLE_AFTER_MS ? usualMs * IDLE_FACTOR : usualMs;
  }
}
