/** Writes a range again after an interruption, and skips the documents that are there already. */

import { idDocument } from '../bson/raw-document.js';
import type { Cluster } from '../cluster/cluster.js';
import { type DocumentWriter, isSpread, type WriteTarget } from '../documents/document-writer.js';
import { type Documents, eachOf } from '../documents/documents-to-write.js';
import type { CollectionAt } from '../documents/read-by-id.js';
import { remakeDocuments } from '../documents/remake.js';
import { findStored } from '../documents/stored-documents.js';

/** How a range is written. */
export interface ResumedWritesOptions {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly writer: DocumentWriter;
  readonly target: WriteTarget;
  /** So many documents in a row that are not there mean that an earlier attempt got no further. */
  readonly enough: number;
}

/** Where documents were read, and whether they follow each other by `_id`. */
export interface ReadDocuments {
  readonly isRun: boolean;
  readonly at: CollectionAt;
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

  async put(documents: Documents, { isRun, at }: ReadDocuments, signal: AbortSignal): Promise<void> {
    const { destination, writer, target, enough } = this.#options;
    let others = documents;
    if (this.#looks) {
      const stored = await findStored(destination, target, { documents: eachOf(documents), isRun }, signal);
      others = stored.others;
      this.#missing = stored.found > 0 ? 0 : this.#missing + documents.length;
      if (this.#missing >= enough) this.#looks = false;
    }
    if (others.length === 0) return;
    if (isSpread(target.keyPaths)) await this.#putSpread(others, at, signal);
    else await writer.putSurely(target, others, signal);
  }

  /**
   * A document that changes its shard while it is read may be met on both: under one `_id`, with two shard keys. Where
   * the two cannot both stand, what the source has now is written.
   */
  async #putSpread(documents: Documents, at: CollectionAt, signal: AbortSignal): Promise<void> {
    const { source, writer, target } = this.#options;
    const taken = await writer.putUnlessTaken(target, documents, signal);
    const ids = taken.flatMap((each) => idDocument(each) ?? []);
    if (ids.length > 0) await remakeDocuments({ source, writer }, { at, target, ids }, signal);
  }
}
