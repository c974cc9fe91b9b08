/** Reads the messages of MongoDB's wire protocol. */
import { BSON, type Document } from 'mongodb';
import { findField, forEachField, type RawField } from '../../src/bson/raw-document.js';

const HEADER_BYTES = 16;
const MAX_MESSAGE_BYTES = 48_000_000 + 16 * 1024;
const OP_MSG = 2013;
const OP_QUERY = 2004;
const OP_REPLY = 1;
const MORE_TO_COME = 1 << 1;
const NO_DOCUMENT = Buffer.from([5, 0, 0, 0, 0]);

/** One message of MongoDB's wire protocol: its bytes, and the little that is understood of them. */
export interface WireMessage {
  readonly bytes: Buffer;
  readonly requestId: number;
  /** Of an answer: the request's id. */
  readonly responseTo: number;
  /** The command, or the answer, as raw BSON, without the document sequences beside it. */
  readonly body: Buffer;
  /** Answers: more follow without another request. Requests: no answer follows. */
  readonly moreToCome: boolean;
}

/** What a command is and where it goes; '' where it cannot be told. */
export interface CommandName {
  readonly command: string;
  readonly db: string;
  readonly collection: string;
}

/** Cuts a stream of bytes into whole messages. Errors: RangeError on a length that no message has. */
export class MessageFramer {
  #chunks: Buffer[] = [];
  #length = 0;

  /** The messages that this chunk completes. */
  *push(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    for (;;) {
      if (this.#length < 4) return;
      if ((this.#chunks[0] as Buffer).length < 4) this.#join();
      const wanted = (this.#chunks[0] as Buffer).readInt32LE(0);
      if (wanted < HEADER_BYTES || wanted > MAX_MESSAGE_BYTES) throw new RangeError(`a message of ${wanted} bytes`);
      if (this.#length < wanted) return;
      this.#join();
      const all = this.#chunks[0] as Buffer;
      this.#chunks = all.length > wanted ? [all.subarray(wanted)] : [];
      this.#length -= wanted;
      yield all.subarray(0, wanted);
    }
  }

  #join(): void {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
  }
}

/** Reads a message. OP_MSG and what old handshakes use are understood; of any other the body is empty. */
export function readMessage(bytes: Buffer): WireMessage {
  const opcode = bytes.readInt32LE(12);
  const isMessage = opcode === OP_MSG;
  return {
    bytes,
    requestId: bytes.readInt32LE(4),
    responseTo: bytes.readInt32LE(8),
    body: isMessage ? messageBody(bytes) : legacyBody(bytes, opcode),
    moreToCome: isMessage && (bytes.readUInt32LE(HEADER_BYTES) & MORE_TO_COME) !== 0,
  };
}

/** Of an old handshake. */
function legacyBody(bytes: Buffer, opcode: number): Buffer {
  if (opcode === OP_REPLY) return documentAt(bytes, HEADER_BYTES + 20);
  // Flags, the namespace, and two numbers stand before the query.
  if (opcode === OP_QUERY) return documentAt(bytes, bytes.indexOf(0, HEADER_BYTES + 4) + 1 + 8);
  return NO_DOCUMENT;
}

/** The one section of kind 0. Those of kind 1 (document sequences) tell their length; a checksum may follow them all. */
function messageBody(bytes: Buffer): Buffer {
  let offset = HEADER_BYTES + 4;
  while (offset < bytes.length) {
    if (bytes[offset] === 0) return documentAt(bytes, offset + 1);
    offset += 1 + bytes.readInt32LE(offset + 1);
  }
  return NO_DOCUMENT;
}

function documentAt(bytes: Buffer, offset: number): Buffer {
  if (offset + 5 > bytes.length) return NO_DOCUMENT;
  return bytes.subarray(offset, offset + bytes.readInt32LE(offset));
}

/** The name of a request's command, its database and its collection. */
export function commandName(body: Buffer): CommandName {
  let command = '';
  let collection = '';
  forEachField(body, (name, field) => {
    command = name;
    collection = textOf(body, field);
    return false;
  });
  // A cursor's collection stands beside its id.
  if (command === 'getMore') collection = stringField(body, 'collection');
  return { command, collection, db: stringField(body, '$db') };
}

/** The name under which a handshake's client presents itself; undefined where it is none, or names nothing. */
export function appNameOf(body: Buffer): string | undefined {
  const client = findField(body, 'client');
  if (client?.type !== 3) return undefined;
  const metadata: Document = BSON.deserialize(body.subarray(client.start, client.end));
  const name: unknown = metadata['application']?.name;
  return typeof name === 'string' ? name : undefined;
}

function stringField(body: Buffer, name: string): string {
  const field = findField(body, name);
  return field === undefined ? '' : textOf(body, field);
}

function textOf(body: Buffer, field: RawField): string {
  return field.type === 2 ? body.toString('utf8', field.start + 4, field.end - 1) : '';
}
