import { Timestamp } from './bson.js';

/**
 * A point in a change stream: the resume token's `_data`. Tokens of one stream compare as strings, in stream order
 * (they are hexadecimal KeyStrings); times do not do, since all events of a transaction share one.
 */
export type Token = string;

/** Where a stream begins: after a token, or at a cluster time (inclusive). */
export type StreamStart = { readonly token: Token } | { readonly time: Timestamp };

/** The cluster time in a token: the KeyString begins with the type byte 0x82 and the big-endian timestamp. */
export function tokenTime(token: Token): Timestamp {
  if (!/^82[0-9A-Fa-f]{16}/.test(token)) throw new RangeError('resume token of an unknown form');
  return new Timestamp({ t: Number.parseInt(token.slice(2, 10), 16), i: Number.parseInt(token.slice(10, 18), 16) });
}

/** Seconds since the epoch of a cluster time. */
export function secondsOf(time: Timestamp): number {
  return time.getHighBitsUnsigned();
}

/** -1, 0 or 1. */
export function compareTimes(a: Timestamp, b: Timestamp): number {
  return a.compare(b);
}
