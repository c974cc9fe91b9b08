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
    if (typeof DocumentSequence !== 'function') return undefined;
    return { Sequence: DocumentSequence as SequenceClass, ...lessCopying(DocumentSequence, OpMsgRequest) };
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/**
 * The driver copies the documents of a message three times: into the sequence, into the message's sections, and into the
 * message. The last one is enough; the others cost time, and so much memory that a third of a copy's time went into
 * collecting it.
 */
function lessCopying(Sequence: SequenceOfDriver, Request: unknown): Pick<DriverMessages, 'copyLess' | 'copyAsBefore'> {
  const prototype = prototypeOf(Request);
  if (prototype === undefined) return { copyLess: () => undefined, copyAsBefore: () => undefined };
  const usual = usualOf(prototype);
  return {
    copyLess: () => {
      prototype.makeSections = function (this: Message, buffers, document) {
        const sequences = Object.entries(document).filter(([, value]) => value instanceof Sequence);
        const chunks = sequences.flatMap(([, value]) => (value as { chunks?: unknown }).chunks);
        // One that was made by another version of the driver has none.
        if (!chunks.every((chunk) => chunk instanceof Uint8Array)) return usual.call(this, buffers, document);
        for (const [name] of sequences) delete document[name];
        const sections = [Buffer.of(0), this.serializeBson(document), ...chunks];
        let length = 0;
        for (const section of sections) {
          buffers.push(section);
          length += section.length;
        }
        return length;
      };
    },
    copyAsBefore: () => {
      prototype.makeSections = usual;
    },
  };
}

// biome-ignore lint/complexity/noBannedTypes: what `instanceof` takes of a class that is not known
type SequenceOfDriver = Function;

/** By prototype: there may be several writers, and each would take the one before for the driver's own. */
const known = new WeakMap<MessagePrototype, MakeSections>();

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
