/** Measures how fast counters grow. */

const WINDOW_MS = 5000;

/** How fast a set of counters grows, over the last five seconds. */
export class Rates<K extends string> {
  readonly #samples: { readonly atMs: number; readonly counts: Readonly<Record<K, number>> }[] = [];

  /** Adds a sample; `atMs` is monotonic. */
  sample(atMs: number, counts: Readonly<Record<K, number>>): void {
    this.#samples.push({ atMs, counts });
    while (this.#samples.length > 2 && atMs - (this.#samples[0]?.atMs ?? atMs) > WINDOW_MS) this.#samples.shift();
  }

  /** Per second; 0 before two samples. */
  perSecond(key: K): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
    return Math.max(0, ((last.counts[key] - first.counts[key]) * 1000) / (last.atMs - first.atMs));
  }
}
