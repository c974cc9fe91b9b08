/** Converts collection UUIDs between the forms that they come in. */
import { Binary } from './bson.js';

/** A collection UUID as hexadecimal text, for map keys. */
export function uuidText(uuid: Binary): string {
  return Buffer.from(uuid.buffer.subarray(0, uuid.position)).toString('hex');
}

/** The 16 bytes of a UUID, as plain data of their own. */
export function uuidBytes(uuid: Binary): Uint8Array {
  return Uint8Array.from(uuid.buffer.subarray(0, uuid.position));
}

/** A collection UUID from its 16 raw bytes. */
export function uuidFrom(bytes: Uint8Array): Binary {
  return new Binary(Buffer.from(bytes), Binary.SUBTYPE_UUID);
}
