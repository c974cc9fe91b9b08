/** The driver's internal classes for messages, which put raw BSON on the wire; loaded here alone. */

/** Raw documents as a field of a command. */
interface Sequence {
  push(document: unknown, buffer: Buffer): number;
}

/** Makes a sequence for a field, e.g. `documents`. */
export type SequenceClass = new (field: string) => Sequence;

/** What is used of the driver's class for one message. */
interface Message {
  serializeBson(document: Record<string, unknown>): Uint8Array;
}
type MakeSections = (this: Message, buffers: Uint8Array[], document: Record<string, unknown>) => number;
interface MessagePrototype extends Message {
  makeSections: MakeSections;
}

/** What is used of the driver's class for one connection. */
interface Connection {
  readonly socket: { cork(): void; write(chunk: Uint8Array): boolean; uncork(): void };
}
interface WriteOptions {
  readonly agreedCompressor?: string;
}
type WriteCommand = (
  this: Connection,
  command: { toBin(): Uint8Array[] | Promise<Uint8Array[]> },
  options: WriteOptions,
) => Promise<unknown>;
interface ConnectionPrototype {
  writeCommand: WriteCommand;
}

/** What was found in the driver. */
export interface DriverMessages {
  readonly Sequence: SequenceClass;
  /** Makes messages without needless copies, where the driver is as it is known; does nothing otherwise. */
  copyLess(): void;
  /** Undoes `copyLess`. */
  copyAsBefore(): void;
}

/**
 * The driver's class that puts raw bytes on the wire. Internal to the pinned driver version: loaded here alone, probed
 * at start, and done without when it is gone or has changed.
 */
export async function loadDriverMessages(): Promise<DriverMessages | undefined> {
  try {
    // A literal import, so that the bundled executable holds the same instance as the driver's own.
    const { DocumentSequence, OpMsgRequest } = await import('mongodb/lib/cmap/commands.js');
    const { Connection } = await import('mongodb/lib/cmap/connection.js');
    if (typeof DocumentSequence !== 'function') return undefined;
    const parts = [fewerSections(DocumentSequence, OpMsgRequest), wholeWrites(OpMsgRequest, Connection)];
    return {
      Sequence: DocumentSequence as SequenceClass,
      copyLess: () => {
        for (const each of parts) each.copyLess();
      },
      copyAsBefore: () => {
        for (const each of parts) each.copyAsBefore();
      },
    };
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

type LessCopying = Pick<DriverMessages, 'copyLess' | 'copyAsBefore'>;

const NO_CHANGE: LessCopying = { copyLess: () => undefined, copyAsBefore: () => undefined };

/**
 * The driver copies the documents of a message three times: into the sequence, into the message's sections, and into the
 * message. The first two cost time, and so much memory that a third of a copy's time went into collecting it. The third:
 * see `wholeWrites`.
 */
function fewerSections(Sequence: FunctionOfDriver, Request: unknown): LessCopying {
  const prototype = prototypeOf(Request);
  if (prototype === undefined) return NO_CHANGE;
  const usual = usualOf(prototype);
  return {
    copyLess: () => {
      prototype.makeSections = function (this: Message, buffers, document) {
        const sequences = Object.entries(document).filter(([, value]) => value instanceof Sequence);
        const chunks = sequences.map(([, value]) => (value as { chunks?: Uint8Array[] }).chunks);
        // One that was made by another version of the driver has none.
        if (!chunks.every((each) => each?.[0] instanceof Uint8Array)) return usual.call(this, buffers, document);
        for (const [name] of sequences) delete document[name];
        let length = 0;
        for (const section of [[Buffer.of(0), this.serializeBson(document)], ...chunks]) {
          // One for each document: this loop is what a copy of small documents spends its time in.
          for (const chunk of section ?? []) {
            buffers.push(chunk);
            length += chunk.length;
          }
        }
        return length;
      };
    },
    copyAsBefore: () => {
      prototype.makeSections = usual;
    },
  };
}

/** Below, one piece of memory is sooner written than several. */
const LARGE_BYTES = 128 * 1024;
const FEW_CHUNKS = 16;

/**
 * A large message of few pieces is written to the socket piece by piece, all in one call of the system, instead of being
 * put together first. Nobody changes the pieces before the answer: a server answers what it has read to its end.
 */
function wholeWrites(Request: unknown, Connection: unknown): LessCopying {
  const prototype = connectionPrototypeOf(Connection);
  if (prototype === undefined || typeof Request !== 'function') return NO_CHANGE;
  const usual = writes.get(prototype) ?? prototype.writeCommand;
  writes.set(prototype, usual);
  return {
    copyLess: () => {
      prototype.writeCommand = function (this: Connection, command, options) {
        if (options.agreedCompressor !== 'none' || !(command instanceof Request))
          return usual.call(this, command, options);
        const chunks = command.toBin();
        if (!Array.isArray(chunks) || !isLarge(chunks)) return usual.call(this, { toBin: () => chunks }, options);
        this.socket.cork();
        for (const chunk of chunks) this.socket.write(chunk);
        this.socket.uncork();
        // The driver waits until all of it has left, in its own way, with nothing to add.
        return usual.call(this, { toBin: () => [] }, options);
      };
    },
    copyAsBefore: () => {
      prototype.writeCommand = usual;
    },
  };
}

function isLarge(chunks: readonly Uint8Array[]): boolean {
  return chunks.length <= FEW_CHUNKS && chunks.some(({ length }) => length >= LARGE_BYTES);
}

// biome-ignore lint/complexity/noBannedTypes: what `instanceof` takes of a class that is not known
type FunctionOfDriver = Function;

/** By prototype: there may be several writers, and each would take the one before for the driver's own. */
const known = new WeakMap<MessagePrototype, MakeSections>();
const writes = new WeakMap<ConnectionPrototype, WriteCommand>();

function connectionPrototypeOf(Connection: unknown): ConnectionPrototype | undefined {
  if (typeof Connection !== 'function') return undefined;
  const prototype = Connection.prototype as Partial<ConnectionPrototype> | undefined;
  return typeof prototype?.writeCommand === 'function' ? (prototype as ConnectionPrototype) : undefined;
}

function usualOf(prototype: MessagePrototype): MakeSections {
  const usual = known.get(prototype) ?? prototype.makeSections;
  known.set(prototype, usual);
  return usual;
}

function prototypeOf(Request: unknown): MessagePrototype | undefined {
  if (typeof Request !== 'function') return undefined;
  const prototype = Request.prototype as Partial<MessagePrototype> | undefined;
  const isKnown = typeof prototype?.makeSections === 'function' && typeof prototype.serializeBson === 'function';
  return isKnown ? (prototype as MessagePrototype) : undefined;
}
