/** Samples progress every second, for rates and for the time until the lag is gone. */
import type { Snapshot } from './control.js';
import type { ObservedRun } from './observed.js';
import { Rates } from './rates.js';

const LAG_SAMPLE_MS = 30_000;

/** What progress tells of the last seconds rather than of now: rates, and whether the lag shrinks. Sampled every second. */
export class Trends {
  readonly rates = new Rates<'documents' | 'bytes' | 'events'>();
  readonly #lagSamples: { readonly atMs: number; readonly seconds: number }[] = [];

  /** The oldest lag of the last half minute. */
  get earlierLag(): { readonly seconds: number; readonly agoSeconds: number } | undefined {
    const first = this.#lagSamples[0];
    if (first === undefined) return undefined;
    return { seconds: first.seconds, agoSeconds: (performance.now() - first.atMs) / 1000 };
  }

  sample(run: ObservedRun | undefined, snapshot: Snapshot): void {
    const now = performance.now();
    if (run !== undefined) {
      const { documents, copiedBytes } = run.copy.totals;
      this.rates.sample(now, { documents, bytes: copiedBytes, events: run.eventsApplied });
    }
    const seconds = snapshot.lag?.overallSeconds;
    if (seconds === undefined) return;
    this.#lagSamples.push({ atMs: now, seconds });
    while (now - (this.#lagSamples[0]?.atMs ?? now) > LAG_SAMPLE_MS) this.#lagSamples.shift();
  }
}
