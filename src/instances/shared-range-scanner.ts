/** Compares ranges in this process and in the instances that help it. */
import type { MatchEvents } from '../matching/match.js';
import type { RangeScan, RangeScanner } from '../matching/range-scanner.js';
import type { Crew } from './crew.js';
import { MAX_AHEAD } from './slots.js';
import { HandedBack } from './task-board.js';

/** Gives each range to the instance that has least to do; one that comes back is begun again. */
export class SharedRangeScanner implements RangeScanner {
  readonly #crew: Crew;
  readonly #local: RangeScanner;
  readonly #parallelRanges: number;

  /** `parallelRanges`: that this process compares at the same time. */
  constructor(crew: Crew, local: RangeScanner, parallelRanges: number) {
    this.#crew = crew;
    this.#local = local;
    this.#parallelRanges = parallelRanges;
  }

  async scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    const crew = this.#crew;
    // A collection that is not cut may be large: what is behind it would wait long.
    const ahead = scan.lower === undefined && scan.upper === undefined ? 0 : 1;
    for (let isOwn = false; ; ) {
      using slot = await crew.slot(
        'compare',
        { own: this.#parallelRanges, isOwn, ahead, mostAhead: MAX_AHEAD },
        signal,
      );
      const { member } = slot;
      const totals = crew.totalsOf(member);
      let read: readonly [number, number] = [0, 0];
      const onRead = (source: number, destination: number): void => {
        read = [read[0] + source, read[1] + destination];
        totals.compared += source;
        events.onRead(source, destination);
      };
      if (member === undefined) return await this.#local.scan(scan, { ...events, onRead }, signal);
      const paged = (page: unknown): Promise<void> =>
        events.onDiffering((page as Uint8Array[]).map((id) => Buffer.from(id)));
      try {
        const answer = await crew.call(member, 'compare', scan, { counted: onRead, paged }, signal);
        return answer as 'compared' | 'moved';
      } catch (error) {
        if (!(error instanceof HandedBack)) throw error;
        events.onRead(-read[0], -read[1]);
        isOwn ||= error.failed;
      }
    }
  }

  close(): Promise<void> {
    return this.#local.close();
  }
}
