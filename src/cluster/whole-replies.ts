/** Has the driver's connections read each reply into memory of its own size, once, instead of in pieces that are put together. */
import { type OnReadOpts, Socket } from 'node:net';
import type { MongoClient } from 'mongodb';
import { LEGAL_TCP_SOCKET_OPTIONS } from 'mongodb/lib/cmap/connect.js';
import { BufferPool } from 'mongodb/lib/utils.js';
import { allocateReply } from './reply-memory.js';

/** Of a message of the wire protocol, whose first four bytes are its length. Source: MongoDB manual, wire protocol. */
const LENGTH_BYTES = 4;
const HEADER_BYTES = 16;
/** Replies have 48 MB at most (maxMessageSizeBytes); what claims more is none. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** For the beginnings of replies, and for small ones. */
const BEGINNING_BYTES = 16 * 1024;

/** What one connection has read of its next reply. */
interface Reading {
  /** Where beginnings are read to, after the `kept` bytes that are too few to tell a length. */
  readonly beginning: Buffer;
  kept: number;
  /** Undefined: its length is not known yet. */
  message: Buffer | undefined;
  filled: number;
}

const readings = new WeakMap<Socket, Reading>();
/** Where the connection whose bytes have just been taken reads to next: Node.js asks at once. */
let next: Buffer | undefined;

/**
 * Node.js reads a connection in pieces of 64 KB, each in memory of its own, and the driver copies these into one that
 * has the whole reply: of a copy of documents that is a tenth of the process's time, half of it for the collection of
 * what it left behind. Here all that is behind the beginning of a reply is read to where it stays.
 */
const onread: OnReadOpts = {
  buffer: () => {
    const buffer = next ?? Buffer.allocUnsafeSlow(BEGINNING_BYTES);
    next = undefined;
    return buffer;
  },
  callback(this: unknown, bytes: number, buffer: Uint8Array): boolean {
    if (!(this instanceof Socket)) throw new TypeError('a read of a connection does not tell of which one');
    return take(this, readings.get(this) ?? begin(this, buffer), bytes);
  },
};

/**
 * Has the connections that a client makes from now on read so. The driver's version is pinned; of its internals this
 * takes the list of options that sockets are given, and what puts pieces together. Not through a SOCKS proxy, which
 * says other things first.
 */
export function readWholeReplies({ options }: MongoClient): void {
  if (options.proxyHost === undefined) Object.assign(options, { onread });
}

if (!LEGAL_TCP_SOCKET_OPTIONS.includes('onread')) LEGAL_TCP_SOCKET_OPTIONS.push('onread');
takeWholePieces(BufferPool.prototype);

/** A piece that is what is asked for is taken as it is; the driver would copy it. */
function takeWholePieces(pool: BufferPool): void {
  const usual = pool.read;
  pool.read = function (this: BufferPool, size: number): Uint8Array {
    const first = this.buffers.first();
    if (first?.byteLength !== size) return usual.call(this, size);
    this.buffers.shift();
    this.totalByteLength -= size;
    return first;
  };
}

/** Takes so many bytes more, and pushes each reply that is complete; false: no more is to be read for now. */
function take(socket: Socket, reading: Reading, bytes: number): boolean {
  let goesOn = true;
  if (reading.message !== undefined) {
    reading.filled += bytes;
    goesOn = deliver(socket, reading);
  } else {
    const end = reading.kept + bytes;
    let at = 0;
    while (end - at >= LENGTH_BYTES && reading.message === undefined) {
      const length = reading.beginning.readInt32LE(at);
      if (length < HEADER_BYTES || length > MAX_MESSAGE_BYTES) {
        socket.destroy(new Error(`the server sent something that is no reply: one of ${length} bytes`));
        return false;
      }
      reading.message = allocateReply(length);
      reading.filled = reading.beginning.copy(reading.message, 0, at, Math.min(at + length, end));
      at += reading.filled;
      goesOn = deliver(socket, reading) && goesOn;
    }
    reading.kept = reading.message === undefined ? reading.beginning.copy(reading.beginning, 0, at, end) : 0;
  }
  next = reading.message?.subarray(reading.filled) ?? reading.beginning.subarray(reading.kept);
  return goesOn;
}

/** The first bytes of a connection are in the buffer that it was given. */
function begin(socket: Socket, { buffer, byteOffset, byteLength }: Uint8Array): Reading {
  const beginning = Buffer.from(buffer, byteOffset, byteLength);
  const reading = { beginning, kept: 0, message: undefined, filled: 0 };
  readings.set(socket, reading);
  return reading;
}

function deliver(socket: Socket, reading: Reading): boolean {
  const { message, filled } = reading;
  if (message === undefined || filled < message.length) return true;
  reading.message = undefined;
  return socket.push(message);
}
