/** Counts how far the initial hashing is, on both sides. */
import type { VerifyRange } from '../metadata/verification-store.js';

/** Documents read and collections finished by the initial hashing, on both sides. */
export class ScanProgress {
  readonly #open = new Map<string, number>();
  readonly #hashed = new Map<string, number>();
  #estimated = 0;
  #collections = 0;
  #source = 0;
  #destination = 0;

  /** Begins with what earlier processes have done. */
  load(ranges: readonly VerifyRange[]): void {
    for (const range of ranges) {
      this.#estimated += range.estimatedDocuments;
      const open = this.#open.get(range.collection);
      if (open === undefined) this.#collections++;
      this.#open.set(range.collection, (open ?? 0) + (range.done ? 0 : 1));
      if (range.done) this.read(range.collection, range.sourceDocuments, range.destinationDocuments);
    }
  }

  read(collection: string, source: number, destination: number): void {
    this.#source += source;
    this.#destination += destination;
    this.#hashed.set(collection, (this.#hashed.get(collection) ?? 0) + source);
  }

  /** Documents of one collection that were read, on the source. */
  hashedOf(collection: string): number {
    return this.#hashed.get(collection) ?? 0;
  }

  rangeDone(collection: string): void {
    this.#open.set(collection, (this.#open.get(collection) ?? 1) - 1);
  }

  get totals(): {
    readonly estimated: number;
    readonly source: number;
    readonly destination: number;
    readonly collections: number;
    readonly collectionsDone: number;
  } {
    let done = 0;
    for (const open of this.#open.values()) if (open === 0) done++;
    return {
      // Documents are inserted meanwhile: never more hashed than there are.
      estimated: Math.max(this.#estimated, this.#source, this.#destination),
      source: this.#source,
      destination: this.#destination,
      collections: this.#collections,
      collectionsDone: done,
    };
  }
}
