/** Counts indexes for progress: how many are wanted, how many are built. */
import { splitTwins } from '../catalog/index-spec.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { IndexContext } from './context.js';

/** Counts for progress. */
export interface IndexProgress {
  readonly built: number;
  readonly total: number;
  readonly collectionsFinished: number;
  readonly collectionsTotal: number;
}

/** How many indexes there are to be, and how many of them there are. */
export class IndexCounts {
  readonly #context: Pick<IndexContext, 'collections' | 'wants'>;
  readonly #built = new Map<string, number>();
  #progress: { readonly version: number; readonly value: IndexProgress } | undefined;

  constructor(context: Pick<IndexContext, 'collections' | 'wants'>) {
    this.#context = context;
  }

  /** So many of a collection's indexes have been found, or built. */
  set(id: string, built: number): void {
    if (this.#built.get(id) !== built) this.#progress = undefined;
    this.#built.set(id, built);
  }

  of(collection: MigratedCollection): { readonly built: number; readonly total: number } {
    // Twins of unique indexes are built after the commit.
    const total = splitTwins(collection.indexes.filter(this.#context.wants)).built.length;
    return { built: Math.min(total, this.#built.get(collection.id) ?? 0), total };
  }

  /** Counted again only after something has changed: progress is asked for many times a second. */
  get progress(): IndexProgress {
    const { version } = this.#context.collections;
    if (this.#progress === undefined || this.#progress.version !== version)
      this.#progress = { version, value: this.#count() };
    return this.#progress.value;
  }

  #count(): IndexProgress {
    const sum = { built: 0, total: 0, collectionsFinished: 0, collectionsTotal: 0 };
    for (const each of this.#context.collections.live()) {
      const { built, total } = this.of(each);
      if (total === 0) continue;
      sum.built += built;
      sum.total += total;
      sum.collectionsTotal++;
      if (built === total) sum.collectionsFinished++;
    }
    return sum;
  }
}
