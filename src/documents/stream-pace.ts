/** Decides how long reads of change streams wait for events, and gather them: not while somebody waits for their end. */

/** While something waits: the position behind all that there is comes with the end of a read's wait. */
const HURRIED_MS = 20;
/** A reply of so many events is worth its cost: behind it there may be many more. */
const FULL_REPLY = 500;

/** When a stream is idle, and how long its reads wait then, in milliseconds. */
export interface Idleness {
  readonly afterMs: number;
  readonly waitMs: number;
}

/** Each read wakes three processes, which is most of what a migration costs that has nothing to do. */
const IDLENESS: Idleness = { afterMs: 10_000, waitMs: 5000 };

/** Shared by all streams of one run. */
export class StreamPace {
  readonly #idleness: Idleness;
  #hurriedUntilMs = Number.NEGATIVE_INFINITY;
  /** How many wait for a stream to get somewhere. */
  #waiting = 0;
  readonly #streams = new Set<() => void>();

  constructor(idleness: Idleness = IDLENESS) {
    this.#idleness = idleness;
  }

  /** Reads wait shortly for so many milliseconds from now on; `Infinity`: for good. */
  hurry(ms: number): void {
    this.#hurriedUntilMs = Math.max(this.#hurriedUntilMs, performance.now() + ms);
    this.look();
  }

  /** Lets idle streams tell at once how far they are. */
  look(): void {
    for (const look of [...this.#streams]) look();
  }

  /** Does what waits for a stream to get somewhere: meanwhile none is left to its idle wait. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    try {
      this.look();
      return await work();
    } finally {
      this.#waiting--;
    }
  }

  /** Calls `look`, which must not throw, whenever idle streams are to tell how far they are, until it is disposed of. */
  onLook(look: () => void): Disposable {
    this.#streams.add(look);
    return { [Symbol.dispose]: () => this.#streams.delete(look) };
  }

  /** How long changes may be gathered before the next read, in milliseconds, after a reply of so many events. */
  gatherMs(usualMs: number, events: number): number {
    const isWorthIt = events > 0 && events < FULL_REPLY && performance.now() >= this.#hurriedUntilMs;
    return isWorthIt ? usualMs : 0;
  }

  /** How long the next read may wait, in milliseconds. `usualMs`: what its reader wants; `quietMs`: since its last event. */
  waitMs(usualMs: number, quietMs: number): number {
    if (performance.now() < this.#hurriedUntilMs) return Math.min(usualMs, HURRIED_MS);
    const { afterMs, waitMs } = this.#idleness;
    return quietMs > afterMs && this.#waiting === 0 ? Math.max(usualMs, waitMs) : usualMs;
  }
}
