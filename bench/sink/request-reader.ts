/** Tells writes of documents from all other requests, in the bytes that a driver sends. */
import { findField, forEachField } from '../../src/bson/raw-document.js';

/** The commands that write documents. */
export type WriteKind = 'insert' | 'update' | 'delete';

/** A write that no server is given. */
export interface TakenWrite {
  readonly requestId: number;
  readonly kind: WriteKind;
  /** Documents of an insert, statements of the others. */
  readonly statements: number;
  /** Whether somebody waits for an answer. */
  readonly isAnswered: boolean;
}

/** What becomes of requests. */
export interface RequestHandlers {
  /** For the server: a message, or the next piece of one. */
  readonly pass: (bytes: Buffer) => void;
  readonly take: (write: TakenWrite) => void;
}

const OP_MSG = 2013;
const CHECKSUM = 1 << 0;
const MORE_TO_COME = 1 << 1;
/** Behind the header, the flags and the kind of the first section. */
const BODY_AT = 21;
const NAME_AT = BODY_AT + 5;
/** The names of writes are all of one length, the zero behind them included. */
const NAME_END = NAME_AT + 7;
const STRING = 2;
const ARRAY = 4;
const SEQUENCE = 1;
const FIELD = { insert: 'documents', update: 'updates', delete: 'deletes' } as const;
/** The server's own databases, and those of mongoferry's metadata. */
const KEPT = /^(admin|config|local|mongosync_reserved_for_internal_use|mongosync_internal_.*)$/;
const NOTHING = Buffer.alloc(0);

/**
 * Reads the requests of one connection. Inserts, updates and deletes on users' databases are taken: of them the command
 * is read and the length of each document, and nothing between is looked at, joined or kept, so that megabytes cost next
 * to nothing. Every other message passes as it is, also what is not understood (compressed, or with a checksum).
 */
export class RequestReader {
  readonly #handlers: RequestHandlers;
  #state: 'begin' | 'pass' | 'section' | 'documents' = 'begin';
  /** What has come and is too short: of a write its command, else a few bytes. */
  #rest: Buffer = NOTHING;
  /** Bytes to come that nobody looks at: the rest of a document. */
  #skip = 0;
  /** Bytes of this message, and of its present sequence, that are not read or skipped yet. */
  #left = 0;
  #sequenceLeft = 0;
  #write: TakenWrite | undefined;
  #statements = 0;

  constructor(handlers: RequestHandlers) {
    this.#handlers = handlers;
  }

  /** Errors: RangeError on lengths that do not fit each other. */
  push(chunk: Buffer): void {
    if (this.#skip > chunk.length) {
      this.#skip -= chunk.length;
      return;
    }
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = this.#skip;
    this.#skip = 0;
    this.#settle();
    while (offset < data.length) {
      const next = this.#read(data, offset);
      if (next === undefined) break;
      offset = next;
      if (offset <= data.length) this.#settle();
    }
    this.#skip = Math.max(0, offset - data.length);
    this.#rest = offset < data.length ? data.subarray(offset) : NOTHING;
  }

  /** Where to go on, maybe behind these bytes; undefined: more are needed. */
  #read(data: Buffer, offset: number): number | undefined {
    switch (this.#state) {
      case 'begin':
        return this.#begin(data, offset);
      case 'pass': {
        const end = Math.min(data.length, offset + this.#left);
        this.#handlers.pass(data.subarray(offset, end));
        this.#left -= end - offset;
        return end;
      }
      case 'section':
        return this.#section(data, offset);
      case 'documents':
        return this.#documents(data, offset);
    }
  }

  #begin(data: Buffer, offset: number): number | undefined {
    const message = data.subarray(offset);
    if (message.length < 4) return undefined;
    this.#left = message.readInt32LE(0);
    if (message.length < Math.min(this.#left, NAME_END)) return undefined;
    const kind = this.#left < NAME_END ? undefined : kindOf(message);
    if (kind !== undefined) {
      const bodyEnd = BODY_AT + message.readInt32LE(BODY_AT);
      if (message.length < bodyEnd) return undefined;
      const body = message.subarray(BODY_AT, bodyEnd);
      if (isOnUsersData(body)) {
        const isAnswered = (message.readUInt32LE(16) & MORE_TO_COME) === 0;
        this.#statements = statementsIn(body, FIELD[kind]);
        this.#write = { requestId: message.readInt32LE(4), kind, statements: 0, isAnswered };
        this.#left -= bodyEnd;
        this.#state = 'section';
        return offset + bodyEnd;
      }
    }
    this.#state = 'pass';
    return offset;
  }

  #section(data: Buffer, offset: number): number | undefined {
    const nameEnd = data.indexOf(0, offset + 5);
    if (nameEnd < 0 || nameEnd < offset + 5) return undefined;
    if (data[offset] !== SEQUENCE) throw new RangeError(`a write with a section of kind ${data[offset]}`);
    const begin = nameEnd + 1;
    this.#sequenceLeft = data.readInt32LE(offset + 1) - (begin - offset - 1);
    this.#left -= begin - offset;
    if (this.#sequenceLeft < 0 || this.#sequenceLeft > this.#left) throw new RangeError('a sequence of no such length');
    this.#state = 'documents';
    return begin;
  }

  #documents(data: Buffer, begin: number): number | undefined {
    let offset = begin;
    while (this.#sequenceLeft > 0 && offset + 4 <= data.length) {
      const length = data.readInt32LE(offset);
      if (length < 5 || length > this.#sequenceLeft) throw new RangeError(`a document of ${length} bytes`);
      this.#statements++;
      this.#sequenceLeft -= length;
      this.#left -= length;
      offset += length;
    }
    return offset === begin ? undefined : offset;
  }

  /** What has come to its end is left. */
  #settle(): void {
    if (this.#state === 'documents' && this.#sequenceLeft === 0) this.#state = 'section';
    if (this.#state === 'begin' || this.#left > 0) return;
    if (this.#state === 'section' && this.#write !== undefined)
      this.#handlers.take({ ...this.#write, statements: this.#statements });
    this.#state = 'begin';
  }
}

function kindOf(message: Buffer): WriteKind | undefined {
  const isPlain = message.readInt32LE(12) === OP_MSG && (message.readUInt32LE(16) & CHECKSUM) === 0;
  if (!isPlain || message[BODY_AT - 1] !== 0 || message[NAME_AT - 1] !== STRING) return undefined;
  const name = message.toString('latin1', NAME_AT, NAME_END - 1);
  if (message[NAME_END - 1] !== 0) return undefined;
  return name === 'insert' || name === 'update' || name === 'delete' ? name : undefined;
}

function isOnUsersData(body: Buffer): boolean {
  const field = findField(body, '$db');
  return field?.type === STRING && !KEPT.test(body.toString('utf8', field.start + 4, field.end - 1));
}

/** Those that stand in the command itself. */
function statementsIn(body: Buffer, name: string): number {
  const field = findField(body, name);
  if (field?.type !== ARRAY) return 0;
  let count = 0;
  forEachField(body.subarray(field.start, field.end), () => {
    count++;
    return true;
  });
  return count;
}
