/** Decides how long reads of change streams wait for events, and gather them: not while somebody waits for their end. */

/** While something waits: the position behind all that there is comes with the end of a read's wait. */
const HURRIED_MS = 20;
/** From so many milliseconds without an event on, a stream is idle: its reads wait longer, which costs less. */
const IDLE_AFTER_MS = 10_000;
const IDLE_FACTOR = 2;
/** A reply of so many events is worth its cost: behind it there may be many more. */
const FULL_REPLY = 500;

/** Shared by all streams of one run. */
export class StreamPace {
  #hurriedUntilMs = Number.NEGATIVE_INFINITY;

  /** Reads wait shortly for so many milliseconds from now on; `Infinity`: for good. */
  hurry(ms: number): void {
    this.#hurriedUntilMs = Math.max(this.#hurriedUntilMs, performance.now() + ms);
  }

  /** How long changes may be gathered before the next read, in milliseconds, after a reply of so many events. */
  gatherMs(usualMs: number, events: number): number {
    const isWorthIt = events > 0 && events < FULL_REPLY && performance.now() >= this.#hurriedUntilMs;
    return isWorthIt ? usualMs : 0;
  }

  /** How long the next read may wait, in milliseconds. `usualMs`: what its reader wants; `quietMs`: since its last event. */
  waitMs(usualMs: number, quietMs: number): number {
    if (performance.now() < this.#hurriedUntilMs) return Math.min(usualMs, HURRIED_MS);
    return quietMs > IDLE_AFTER_MS ? usualMs * IDLE_FACTOR : usualMs;
  }
}
