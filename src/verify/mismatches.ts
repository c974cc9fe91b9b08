/** Keeps the documents that are known to differ, and their exact number. */
import { nsText } from '../catalog/namespace.js';
import type { Difference } from '../matching/difference.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { recheckKey, type StoredMismatch, type VerificationState } from '../metadata/verification-store.js';

const PAGE = 1000;
const MAX_NAMED = 20;
/** Keys kept in memory; beyond it the store is asked which of some documents are mismatches. */
const MAX_KNOWN = 50_000;

/** The documents known to differ: all of them in the metadata, their exact number by namespace in memory. */
export class Mismatches {
  readonly #store: VerificationState;
  readonly #maxKnown: number;
  readonly #known = new Set<string>();
  readonly #counts = new Map<string, number>();
  readonly #collections = new Map<string, number>();
  #total = 0;

  constructor(store: VerificationState, maxKnown = MAX_KNOWN) {
    this.#store = store;
    this.#maxKnown = maxKnown;
  }

  /** "db.coll" → how many documents differ. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get total(): number {
    return this.#total;
  }

  /** The ids of the collections that have some. */
  get collections(): string[] {
    return [...this.#collections.keys()];
  }

  async load(signal: AbortSignal): Promise<void> {
    for await (const page of this.pages(signal)) this.#count(page, 1);
  }

  /** "3 documents differ: shop.orders 2, shop.carts 1". */
  get text(): string {
    const counts = [...this.#counts].sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1));
    const named = counts.slice(0, MAX_NAMED).map(([namespace, count]) => `${namespace} ${count}`);
    const more = counts.length > named.length ? `, and ${counts.length - named.length} more namespaces` : '';
    const what = this.total === 1 ? '1 document differs' : `${this.total} documents differ`;
    return `${what}: ${named.join(', ')}${more}`;
  }

  /** All that are stored, up to a thousand at a time. */
  async *pages(signal: AbortSignal): AsyncGenerator<StoredMismatch[]> {
    for (let after = ''; ; ) {
      const page = await this.#store.mismatches(after, PAGE, signal);
      const last = page.at(-1);
      if (last === undefined) return;
      yield page;
      after = last.key;
    }
  }

  /**
   * Stores documents as mismatches; resolves with those that were none before. One that was keeps the time when it was
   * found first. Calls must not overlap with each other, nor with those of `resolve`.
   */
  async add(
    collection: MigratedCollection,
    differences: readonly Difference[],
    signal: AbortSignal,
  ): Promise<readonly Difference[]> {
    if (differences.length === 0) return [];
    const namespace = nsText(collection.sourceNs);
    const keyOf = ({ id }: Difference): string => recheckKey({ collection: collection.id, id });
    const found = await this.#find(differences.map(keyOf), signal);
    const known = new Map(found.map((each) => [each.key, each]));
    const now = new Date();
    const records = differences.map((each) => {
      const key = keyOf(each);
      const foundAt = known.get(key)?.foundAt ?? now;
      return { ...each, namespace, foundAt, key };
    });
    await this.#store.putMismatches(
      records.map(({ key: _, ...record }) => record),
      signal,
    );
    // Those that were known are counted under the name they have now.
    this.#count(found, -1);
    this.#count([...new Map(records.map((each) => [each.key, each])).values()], 1);
    return differences.filter((each) => !known.has(keyOf(each)));
  }

  /** Documents that were compared and are equal: they are no mismatches, or no longer. */
  async resolve(collection: string, ids: Iterable<Buffer>, signal: AbortSignal): Promise<void> {
    if (!this.#collections.has(collection)) return;
    await this.#delete(
      await this.#find(
        [...ids].map((id) => recheckKey({ collection, id })),
        signal,
      ),
      signal,
    );
  }

  /** All mismatches of a collection that is gone. */
  async forget(collection: string, signal: AbortSignal): Promise<void> {
    // Keys begin with the collection.
    for (let after = `${collection}:`; this.#collections.has(collection); ) {
      const page = await this.#store.mismatches(after, PAGE, signal);
      const own = page.filter((each) => each.collection === collection);
      await this.#delete(own, signal);
      if (own.length === 0 || own.length < page.length) return;
      after = own.at(-1)?.key ?? after;
    }
  }

  async #delete(records: readonly StoredMismatch[], signal: AbortSignal): Promise<void> {
    if (records.length === 0) return;
    await this.#store.deleteMismatches(
      records.map(({ key }) => key),
      signal,
    );
    this.#count(records, -1);
  }

  /** Those of the keys that are stored. */
  async #find(keys: readonly string[], signal: AbortSignal): Promise<StoredMismatch[]> {
    const isWhole = this.#known.size === this.#total;
    const wanted = isWhole ? keys.filter((key) => this.#known.has(key)) : keys;
    return wanted.length === 0 ? [] : this.#store.findMismatches(wanted, signal);
  }

  #count(records: readonly Pick<StoredMismatch, 'key' | 'namespace' | 'collection'>[], by: 1 | -1): void {
    for (const { key, namespace, collection } of records) {
      this.#total += by;
      addTo(this.#counts, namespace, by);
      addTo(this.#collections, collection, by);
      if (by === -1) this.#known.delete(key);
      else if (this.#known.size < this.#maxKnown) this.#known.add(key);
    }
  }
}

function addTo(counts: Map<string, number>, name: string, by: number): void {
  const count = (counts.get(name) ?? 0) + by;
  if (count > 0) counts.set(name, count);
  else counts.delete(name);
}
