/** Decides how many ranges are copied at the same time, by their size. */

/** What is copied with one read and one write of a few milliseconds. */
const SMALL_BYTES = 256 * 1024;
const SMALL_AT_ONCE = 4;

/**
 * Of small ranges more are copied at once, where `parallelRanges` of any size may be: nearly all of their time is that of
 * waiting for a majority to have stored the one batch, and a server stores many with one write of its journal.
 */
export function parallelOf(parallelRanges: number, bytes: number): number {
  return bytes <= SMALL_BYTES ? SMALL_AT_ONCE * parallelRanges : parallelRanges;
}
