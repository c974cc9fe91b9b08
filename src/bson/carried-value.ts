/** Puts a raw BSON value into a command byte for byte, where decoding it would change it. */
import { decodeOrdered, encode, ObjectId, survivesDecoding } from './bson.js';
import { findField } from './raw-document.js';

const TYPE_OBJECT_ID = 7;

/**
 * A value that is put into commands byte for byte: text that is not UTF-8, types that are no longer written, names that
 * occur twice. The driver lets an ObjectId write itself, which is internal to its pinned version: `queryValue` looks at
 * what comes of it.
 */
class CarriedValue extends ObjectId {
  readonly #type: number;
  readonly #bytes: Uint8Array;

  constructor(type: number, bytes: Uint8Array) {
    super();
    this.#type = type;
    this.#bytes = bytes;
  }

  serializeInto(buffer: Uint8Array, index: number): number {
    // Before the value stand its type, its name and a zero; the names used here hold no such byte.
    buffer[buffer.lastIndexOf(TYPE_OBJECT_ID, index - 2)] = this.#type;
    buffer.set(this.#bytes, index);
    return this.#bytes.length;
  }
}

/**
 * The value of a raw `{_id: …}` for a command, which will hold just these bytes; undefined when it cannot be carried.
 */
export function queryValue(id: Buffer): unknown {
  if (survivesDecoding(id)) return decodeOrdered(id).get('_id');
  const field = findField(id, '_id');
  if (field === undefined) return undefined;
  const value = new CarriedValue(field.type, Buffer.from(id.subarray(field.start, field.end)));
  return encode({ _id: value }).equals(id) ? value : undefined;
}
