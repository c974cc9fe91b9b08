/** Orders the collections whose indexes are to be built, the largest first. */
import type { CollectionMap } from '../metadata/collections.js';

/** Collections whose indexes are to be looked at, the largest first. A collection is in it once. */
export class BuildQueue {
  readonly #collections: Pick<CollectionMap, 'get'>;
  readonly #queued = new Set<string>();
  /** Those of them that were added since all were last taken to be looked at together. */
  readonly #fresh = new Set<string>();
  /** What is queued, the largest last; may hold what is queued no more. */
  #order: string[] = [];
  #isSorted = true;

  constructor(collections: Pick<CollectionMap, 'get'>) {
    this.#collections = collections;
  }

  get ids(): ReadonlySet<string> {
    return this.#queued;
  }

  add(id: string): void {
    this.#fresh.add(id);
    if (this.#queued.has(id)) return;
    this.#queued.add(id);
    this.#order.push(id);
    this.#isSorted = false;
  }

  /** What was added since the last call, if that is so many; it stays queued. */
  fresh(least: number): string[] {
    if (this.#fresh.size < least) return [];
    const ids = [...this.#fresh];
    this.#fresh.clear();
    return ids;
  }

  /** Takes a collection out, unless it has been added again since `fresh` told of it; tells whether it did. */
  takeSettled(id: string): boolean {
    return !this.#fresh.has(id) && this.#queued.delete(id);
  }

  /** Takes out the largest collection that may be built; it may have been dropped meanwhile. */
  next(mayBuild: (id: string) => boolean): string | undefined {
    this.#sort();
    for (let index = this.#order.length - 1; index >= 0; index--) {
      const id = this.#order[index] as string;
      if (this.#queued.has(id) && !mayBuild(id)) continue;
      this.#order.splice(index, 1);
      this.#fresh.delete(id);
      if (this.#queued.delete(id)) return id;
    }
    return undefined;
  }

  #sort(): void {
    if (this.#isSorted) return;
    const bytes = new Map(this.#order.map((id) => [id, this.#collections.get(id)?.copy.estimatedBytes ?? 0]));
    this.#order = [...bytes.keys()].sort((a, b) => (bytes.get(a) ?? 0) - (bytes.get(b) ?? 0));
    this.#isSorted = true;
  }
}
