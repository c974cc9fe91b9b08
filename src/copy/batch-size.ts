/** Chooses how many documents are read at a time: fewer after each interruption, more again without one. */

const MB = 1024 * 1024;
const REPLY_DOCUMENTS = 1024;
const MIN_REPLY_BYTES = 2 * MB;
const MAX_REPLY_BYTES = 12 * MB;
const MAX_REPLY_DOCUMENTS = 10_000;

/**
 * How many documents of this average size, in bytes, are read at a time. A reply and its insert have their own cost, on all
 * three sides, so the destination should have some milliseconds' work with each: 2 MB of small documents are nearly enough
 * for that, and keep the turns of the event loop short in which they are received and sent. Of large documents, which cost
 * little for each byte, it takes more. The server's own bound for a reply is 16 MB.
 */
export function documentsOfReply(averageBytes: number): number {
  const average = Math.max(1, averageBytes);
  const bytes = Math.min(MAX_REPLY_BYTES, Math.max(MIN_REPLY_BYTES, REPLY_DOCUMENTS * average));
  return Math.max(1, Math.min(MAX_REPLY_DOCUMENTS, Math.floor(bytes / average)));
}

/** The smallest batches are this part of the wanted ones. */
const SMALLEST = 1 / 64;
const SHRINK = 4;
const GROW = 2;

/**
 * How many documents are read at a time. What is interrupted before it is done must be done again, so batches shrink
 * with every interruption, until they are done in between; and grow again while nothing interrupts them.
 */
export class BatchSize {
  readonly #wanted: number;
  #documents: number;

  constructor(wanted: number) {
    this.#wanted = wanted;
    this.#documents = wanted;
  }

  get documents(): number {
    return this.#documents;
  }

  interrupted(): void {
    this.#documents = Math.max(1, Math.ceil(this.#wanted * SMALLEST), Math.floor(this.#documents / SHRINK));
  }

  done(): void {
    this.#documents = Math.min(this.#wanted, this.#documents * GROW);
  }
}
