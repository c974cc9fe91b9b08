/** Tells V8 when the whole heap is to be collected. */
import { setFlagsFromString } from 'node:v8';

/**
 * How much more than what was left by the last whole collection, in per cent. The memory of replies counts as the heap's,
 * and a copy or a comparison reads hundreds of megabytes a second of it, next to a heap of some 30 MB: as V8 decides by
 * itself, each 10 MB of replies had the whole heap marked anew, which took a third of the processor time of a comparison
 * (docs/performance.md). So the limit is set by what a process of this kind can spare: some 100 MB.
 */
const GROWTH_PERCENT = 250;

/** Call it once, before anything else is loaded. Goes for all threads of the process; a V8 that does not know it ignores it. */
export function collectSeldom(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
  // Once there is little to do V8 would collect all of it up to three times, to give memory back: half of what an idle
  // process costs in that minute, and of the memory of replies, which is given back already, nothing was left.
  setFlagsFromString('--no-memory-reducer');
}
