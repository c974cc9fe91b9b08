/** Tells V8 when the whole heap is to be collected, and which code is worth being compiled for speed. */
import { setFlagsFromString } from 'node:v8';

/**
 * How much more than what was left by the last whole collection, in per cent. The memory of replies counts as the heap's,
 * and a copy or a comparison reads hundreds of megabytes a second of it, next to a heap of some 30 MB: as V8 decides by
 * itself, each 10 MB of replies had the whole heap marked anew, which took a third of the processor time of a comparison
 * (docs/performance.md). So the limit is set by what a process of this kind can spare: some 100 MB.
 */
const GROWTH_PERCENT = 250;

/**
 * How much a function has to run before it is compiled for speed: fifteen times as much as V8 decides by itself. What is hot
 * here, the loops over documents, gets there within a fraction of a second. The paths of the commands do not pay for their
 * compilation, which took a fifth of the processor time of a copy. V8 counts bytes of bytecode up to version 11 (Node 20),
 * and calls from 12 (Node 22) on. Since version 13 (Node 24) it compiles in a cheaper way first: there it makes no difference.
 */
const COMPILE_AFTER_BYTES = 1_000_000;
const COMPILE_AFTER_CALLS = 45_000;

/** V8's flags for `version` of it, as "11.3.244". One that a V8 does not know would have it write an error. */
export function v8Settings(version: string): readonly string[] {
  const major = Number.parseInt(version, 10);
  return [
    `--heap-growing-percent=${GROWTH_PERCENT}`,
    // Once there is little to do V8 would collect all of it up to three times, to give memory back: half of what an idle
    // process costs in that minute, and of the memory of replies, which is given back already, nothing was left.
    '--no-memory-reducer',
    ...(major <= 11 ? [`--interrupt-budget=${COMPILE_AFTER_BYTES}`] : []),
    ...(major === 12 ? [`--invocation-count-for-turbofan=${COMPILE_AFTER_CALLS}`] : []),
  ];
}

/** Call it once, before anything else is loaded. Goes for all threads of the process. */
export function tuneV8(): void {
  for (const setting of v8Settings(process.versions.v8)) setFlagsFromString(setting);
}
