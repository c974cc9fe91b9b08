/** Makes the key by which the verifier keeps a document in maps. */
import { createHash } from 'node:crypto';

/** A key as long as the largest common `_id`s; longer ones are told apart by a digest, which is longer still. */
const MAX_KEY_BYTES = 64;

/** A document's key in maps: different for different bytes. Takes a raw `{_id: …}`. */
export function idKey(id: Buffer): string {
  return id.length <= MAX_KEY_BYTES ? id.toString('latin1') : `#${createHash('sha256').update(id).digest('hex')}`;
}
