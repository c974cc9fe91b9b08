/** Decides how many ranges are copied at the same time, by their size and number. */

/** What is copied with one read and one write of a few milliseconds. */
const SMALL_BYTES = 256 * 1024;
const SMALL_AT_ONCE = 4;
/** With fewer to come there is little to gain, and nothing would be left for an instance that is about to help. */
const MANY = 100;

/**
 * Of many small ranges more are copied at once, where `parallelRanges` of any size may be: nearly all of their time is that
 * of waiting for a majority to have stored the one batch, and a server stores many with one write of its journal.
 * `behind`: ranges that come after this one.
 */
export function parallelOf(parallelRanges: number, bytes: number, behind: number): number {
  return bytes <= SMALL_BYTES && behind >= MANY ? SMALL_AT_ONCE * parallelRanges : parallelRanges;
}
