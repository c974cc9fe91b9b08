import { Binary, type Doc, Timestamp } from './bson.js';

/**
 * A point in a change stream: the resume token's `_data`, and its `_typeBits` in hexadecimal after a colon if it has
 * any (the types of an `_id`, without which the server cannot read a token of a Decimal). Tokens of one stream compare
 * as strings, in stream order, since `_data` is a hexadecimal KeyString that is no prefix of another; times do not do,
 * since all events of a transaction share one.
 */
export type Token = string;

/** The token of a resume token document. */
export function toToken(doc: Doc): Token {
  const bits = doc['_typeBits'];
  const suffix =
    bits instanceof Binary ? `:${Buffer.from(bits.buffer.subarray(0, bits.position)).toString('hex')}` : '';
  return `${String(doc['_data'])}${suffix}`;
}

/** The resume token document of a token, as `resumeAfter` takes it. */
export function toResumeToken(token: Token): Doc {
  const [data, bits] = token.split(':');
  return { _data: data, ...(bits === undefined ? {} : { _typeBits: new Binary(Buffer.from(bits, 'hex')) }) };
}

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
