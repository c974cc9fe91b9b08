/** Writes a range again after an interruption, and skips the documents that are there already. */
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentWriter, WriteTarget } from '../documents/document-writer.js';
import { findStored } from '../documents/stored-documents.js';

/** How a range is written. */
export interface ResumedWritesOptions {
  readonly destination: Cluster;
  readonly writer: DocumentWriter;
  readonly target: WriteTarget;
  /** So many documents in a row that are not there mean that an earlier attempt got no further. */
  readonly enough: number;
}

/**
 * Writes the batches of a range. After an interruption each batch is compared with what is on the destination first, and
 * only what is missing or different is written: a document that is there already costs an insert that is refused, a
 * delete and another insert otherwise. Once nothing more of an earlier attempt is met, batches are written as they are.
 */
export class ResumedWrites {
  readonly #options: ResumedWritesOptions;
  #looks = false;
  #missing = 0;

  constructor(options: ResumedWritesOptions) {
    this.#options = options;
  }

  /** From now on documents may be met that an earlier attempt has written. */
  resume(): void {
    this.#looks = true;
    this.#missing = 0;
  }

  /** `isRun`: they follow each other by `_id`. */
  async put(documents: readonly Buffer[], isRun: boolean, signal: AbortSignal): Promise<void> {
    const { destination, writer, target, enough } = this.#options;
    let others = documents;
    if (this.#looks) {
      const stored = await findStored(destination, target, { documents, isRun }, signal);
      others = stored.others;
      this.#missing = stored.found > 0 ? 0 : this.#missing + documents.length;
      if (this.#missing >= enough) this.#looks = false;
    }
    if (others.length > 0) await writer.putSurely(target, others, signal);
  }
}
