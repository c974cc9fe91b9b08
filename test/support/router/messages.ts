/** Writes and cuts OP_MSG messages, with the documents of a batch beside the command as the drivers send them. */
import { encode, fieldsOf, type Part, type RawValue } from './raw-values.js';

const HEADER_BYTES = 16;
const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const CHECKSUM_PRESENT = 1;
const MORE_TO_COME = 2;

/** Documents that stand beside the command, as if they were an array of that name in it. */
export interface Sequence {
  readonly name: string;
  readonly documents: readonly Uint8Array[];
}

/** A request or an answer as it came. */
export interface Message {
  readonly requestId: number;
  readonly fields: Map<string, RawValue>;
  /** By name. */
  readonly sequences: ReadonlyMap<string, Buffer[]>;
  /** No answer is wanted. */
  readonly moreToCome: boolean;
  /** An old handshake's form, which is answered in its own. */
  readonly legacy: boolean;
}

let lastRequestId = 0;

/** The chunks of an OP_MSG; `responseTo` is 0 for a request. */
export function writeMessage(body: Part | Uint8Array, sequence?: Sequence, responseTo = 0): Uint8Array[] {
  const raw = encode(body);
  const chunks: Uint8Array[] = [Buffer.alloc(HEADER_BYTES + 5), raw];
  if (sequence !== undefined) chunks.push(...writeSequence(sequence));
  writeHeader(chunks, OP_MSG, responseTo);
  return chunks;
}

/** The chunks of an OP_REPLY, the answer to an OP_QUERY. */
export function writeLegacyReply(body: Part | Uint8Array, responseTo: number): Uint8Array[] {
  const head = Buffer.alloc(HEADER_BYTES + 20);
  // AwaitCapable, no cursor, from 0, one document.
  head.writeInt32LE(8, HEADER_BYTES);
  head.writeInt32LE(1, HEADER_BYTES + 16);
  const chunks = [head, encode(body)];
  writeHeader(chunks, OP_REPLY, responseTo);
  return chunks;
}

function writeHeader(chunks: readonly Uint8Array[], opcode: number, responseTo: number): void {
  const head = chunks[0] as Buffer;
  lastRequestId = (lastRequestId + 1) & 0x7fffffff;
  head.writeInt32LE(
    chunks.reduce((sum, { length }) => sum + length, 0),
    0,
  );
  head.writeInt32LE(lastRequestId, 4);
  head.writeInt32LE(responseTo, 8);
  head.writeInt32LE(opcode, 12);
}

function writeSequence({ name, documents }: Sequence): Uint8Array[] {
  const head = Buffer.alloc(5 + Buffer.byteLength(name) + 1);
  head[0] = 1;
  head.writeInt32LE(
    documents.reduce((sum, { length }) => sum + length, head.length - 1),
    1,
  );
  head.write(name, 5);
  return [head, ...documents];
}

/** Reads a whole message. Errors: RangeError for an opcode that is not understood. */
export function readMessage(bytes: Buffer): Message {
  const opcode = bytes.readInt32LE(12);
  const requestId = bytes.readInt32LE(4);
  if (opcode === OP_QUERY) return readQuery(bytes, requestId);
  if (opcode !== OP_MSG) throw new RangeError(`a message of opcode ${opcode}`);
  const flags = bytes.readUInt32LE(HEADER_BYTES);
  const end = bytes.length - (flags & CHECKSUM_PRESENT ? 4 : 0);
  let fields = new Map<string, RawValue>();
  const sequences = new Map<string, Buffer[]>();
  for (let offset = HEADER_BYTES + 4; offset < end; ) {
    const kind = bytes[offset];
    const start = offset + 1;
    const length = bytes.readInt32LE(start);
    if (kind === 0) fields = fieldsOf(bytes.subarray(start, start + length));
    else readSequence(bytes.subarray(start, start + length), sequences);
    offset = start + length;
  }
  return { requestId, fields, sequences, moreToCome: (flags & MORE_TO_COME) !== 0, legacy: false };
}

function readSequence(section: Buffer, sequences: Map<string, Buffer[]>): void {
  const nameEnd = section.indexOf(0, 4);
  const documents: Buffer[] = [];
  for (let offset = nameEnd + 1; offset < section.length; ) {
    const length = section.readInt32LE(offset);
    documents.push(section.subarray(offset, offset + length));
    offset += length;
  }
  sequences.set(section.toString('utf8', 4, nameEnd), documents);
}

function readQuery(bytes: Buffer, requestId: number): Message {
  const nameEnd = bytes.indexOf(0, HEADER_BYTES + 4);
  const [db = ''] = bytes.toString('utf8', HEADER_BYTES + 4, nameEnd).split('.');
  const start = nameEnd + 1 + 8;
  const fields = fieldsOf(bytes.subarray(start, start + bytes.readInt32LE(start)));
  fields.set('$db', fieldsOf(encode({ db })).get('db') as RawValue);
  return { requestId, fields, sequences: new Map(), moreToCome: false, legacy: true };
}
