import { nsText } from '../cluster/namespace.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { recheckKey, type StoredMismatch, type VerificationState } from '../metadata/verification-store.js';
import type { Difference } from './difference.js';

const PAGE = 1000;
const MAX_NAMED = 20;
/** Beyond it mismatches are stored, but their keys are not kept in memory: counts are of at least so many then. */
const MAX_KNOWN = 50_000;

/** The documents known to differ: all of them in the metadata, their number by namespace in memory. */
export class Mismatches {
  readonly #store: VerificationState;
  readonly #known = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  constructor(store: VerificationState) {
    this.#store = store;
  }

  /** "db.coll" → how many documents differ. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get total(): number {
    return this.#known.size;
  }

  async load(signal: AbortSignal): Promise<void> {
    for await (const page of this.pages(signal)) {
      for (const { key, namespace } of page) this.#remember(key, namespace);
    }
  }

  /** "3 documents differ: shop.orders 2, shop.carts 1". */
  get text(): string {
    const counts = [...this.#counts].sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1));
    const named = counts.slice(0, MAX_NAMED).map(([namespace, count]) => `${namespace} ${count}`);
    const more = counts.length > named.length ? `, and ${counts.length - named.length} more namespaces` : '';
    const what = this.total === 1 ? '1 document differs' : `${this.total} documents differ`;
    return `${what}: ${named.join(', ')}${more}`;
  }

  /** All that are stored, a thousand at a time. */
  async *pages(signal: AbortSignal): AsyncGenerator<StoredMismatch[]> {
    for (let after = ''; ; ) {
      const page = await this.#store.mismatches(after, PAGE, signal);
      if (page.length > 0) yield page;
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) return;
      after = last.key;
    }
  }

  async add(collection: MigratedCollection, differences: readonly Difference[], signal: AbortSignal): Promise<void> {
    if (differences.length === 0) return;
    const namespace = nsText(collection.sourceNs);
    const foundAt = new Date();
    const records = differences.map(({ id, kind }) => ({ collection: collection.id, id, kind, namespace, foundAt }));
    await this.#store.putMismatches(records, signal);
    for (const each of records) this.#remember(recheckKey(each), namespace);
  }

  /** Documents that were compared and are equal: they are no mismatches, or no longer. */
  async resolve(collection: string, ids: Iterable<Buffer>, signal: AbortSignal): Promise<void> {
    if (this.#known.size === 0) return;
    const keys: string[] = [];
    for (const id of ids) {
      const key = recheckKey({ collection, id });
      if (this.#known.has(key)) keys.push(key);
    }
    await this.#store.deleteMismatches(keys, signal);
    for (const key of keys) this.#forget(key);
  }

  #remember(key: string, namespace: string): void {
    if (this.#known.has(key) || this.#known.size >= MAX_KNOWN) return;
    this.#known.set(key, namespace);
    this.#counts.set(namespace, (this.#counts.get(namespace) ?? 0) + 1);
  }

  #forget(key: string): void {
    const namespace = this.#known.get(key);
    if (namespace === undefined) return;
    this.#known.delete(key);
    const left = (this.#counts.get(namespace) ?? 1) - 1;
    if (left > 0) this.#counts.set(namespace, left);
    else this.#counts.delete(namespace);
  }
}
