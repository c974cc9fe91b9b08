/** Compares single documents and keeps account of those that differ. */
import type { Timestamp } from '../bson/bson.js';
import { secondsOf } from '../bson/position.js';
import { nsText } from '../catalog/namespace.js';
import { hasExpired, ttlRules } from '../catalog/ttl.js';
import type { CollectionAt } from '../documents/read-by-id.js';
import { mapLimit } from '../lib/limit.js';
import {
  compareIds,
  type DifferingIds,
  differenceOf,
  differingIds,
  isFollowed,
  onDestination,
  onSource,
  selectIds,
} from '../matching/compare-ids.js';
import type { Difference } from '../matching/difference.js';
import { idKey } from '../matching/id-key.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import type { VerifyContext } from './context.js';
import { addIds, type DirtyIds, type IdLimits, mergedIds } from './dirty-set.js';
import { Mismatches } from './mismatches.js';
import { RecheckQueue } from './recheck-queue.js';

/** Documents that wait in memory to be compared again. */
const QUEUE_LIMITS: IdLimits = { documents: 50_000, bytes: 16 * 1024 * 1024 };
const PARALLEL_COLLECTIONS = 4;
const PARALLEL_DOCUMENTS = 8;

/** What differs, and what only expiry tells apart. */
interface Judged {
  readonly found: Difference[];
  readonly pending: Buffer[];
}

/**
 * The comparison of single documents: of those that a change stream has named, of those that differed, and of known
 * mismatches. Calls must not overlap.
 */
export class DocumentComparison {
  readonly queue: RecheckQueue;
  readonly mismatches: Mismatches;
  readonly #context: VerifyContext;
  readonly #pending = new Map<string, number>();
  #cappedWrites: Set<string> | undefined;

  constructor(context: VerifyContext) {
    this.#context = context;
    this.queue = new RecheckQueue(context.store, QUEUE_LIMITS);
    this.mismatches = new Mismatches(context.store);
  }

  async load(signal: AbortSignal): Promise<void> {
    await this.queue.load(signal);
    await this.mismatches.load(signal);
  }

  /** Documents that the last `judge` found on the destination only, as they had expired. By collection id. */
  get pending(): ReadonlyMap<string, number> {
    return this.#pending;
  }

  /** Begins to note which capped collections the streams name. */
  watchCappedWrites(): void {
    this.#cappedWrites = new Set();
  }

  /** Whether a capped collection may have been written to since `watchCappedWrites`. */
  mayHaveCappedWrites(collection: string): boolean {
    return this.#cappedWrites?.has(collection) !== false;
  }

  /**
   * Compares documents that the streams have named, and what differed earlier, after the applier has passed what was
   * named. A document that has differed several times, with nothing changing it, is a mismatch. `readUpTo`: how far the
   * source's stream has been read, with all that it named compared by now. Resolves with those that differ and for
   * which the queue has no room, by collection as the streams would name it.
   */
  async compare(taken: DirtyIds, readUpTo: Timestamp | undefined, signal: AbortSignal): Promise<DirtyIds> {
    const changed = this.#byCollection(taken);
    const overflow: DirtyIds = new Map();
    await mapLimit(
      mergedIds(changed, this.queue.ids()),
      PARALLEL_COLLECTIONS,
      async ([id, ids], inner) => {
        const left = await this.#compare(id, ids, changed.get(id) ?? new Map(), readUpTo, inner);
        if (left.length > 0) addIds(overflow, `source:${id}`, new Map(left.map((each) => [idKey(each), each])));
      },
      signal,
    );
    await this.#forgetDropped(signal);
    return overflow;
  }

  /**
   * Compares everything that is not known to be equal, when nothing moves any more: what differs is a mismatch at once.
   * `taken`: what the streams have named since the last comparison. Expiry goes on at an unblocked source, so a document
   * that had expired may be gone there already.
   */
  async judge(taken: DirtyIds, signal: AbortSignal): Promise<void> {
    const { source, applied } = this.#context;
    // A forbidden write to the source is the applier's to name.
    if (source.now !== undefined) await applied(source.now, signal);
    this.#pending.clear();
    for (const [id, ids] of mergedIds(this.#byCollection(taken), this.queue.ids())) {
      await this.#judge(id, [...ids.values()], signal);
    }
    for await (const page of this.mismatches.pages(signal)) {
      for (const [id, ids] of grouped(page)) await this.#judge(id, ids, signal);
    }
    await this.queue.store(signal);
  }

  /** Compares the known mismatches again; those that are equal by now are mismatches no longer. */
  async recheckMismatches(signal: AbortSignal): Promise<void> {
    for await (const page of this.mismatches.pages(signal)) {
      for (const [id, ids] of grouped(page)) {
        const collection = this.#live(id);
        const differing = collection === undefined ? [] : await compareIds(this.#context, collection, ids, signal);
        if (differing !== 'gone') await this.mismatches.resolve(id, without(ids, differing), signal);
      }
    }
  }

  async #compare(
    id: string,
    ids: Map<string, Buffer>,
    changed: ReadonlyMap<string, Buffer>,
    readUpTo: Timestamp | undefined,
    signal: AbortSignal,
  ): Promise<readonly Buffer[]> {
    const collection = this.#live(id);
    if (collection === undefined) {
      this.queue.forget(id);
      return [];
    }
    const all = [...ids.values()];
    metrics.rechecks.add(all.length);
    const differing = await compareIds(this.#context, collection, all, signal);
    if (differing === 'gone') {
      // Its drop is still to be applied; what is in the queue leaves it then.
      return this.queue.note(id, { compared: ids, differing: all, changed: ids, readUpTo, now: undefined }).overflow;
    }
    const now = this.#context.source.now;
    const { confirmed, overflow } = this.queue.note(id, { compared: ids, differing, changed, readUpTo, now });
    await this.mismatches.resolve(id, without(all, differing), signal);
    const { found, pending } = await this.#differences(collection, confirmed, signal);
    await this.#addMismatches(collection, found, signal);
    this.queue.remove(id, without(confirmed, pending));
    this.queue.keepPending(id, pending);
    return overflow;
  }

  async #judge(id: string, ids: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const collection = this.#live(id);
    if (collection === undefined) {
      await this.mismatches.resolve(id, ids, signal);
      return;
    }
    const differing = await compareIds(this.#context, collection, ids, signal);
    if (differing === 'gone') return;
    const { found, pending } = await this.#differences(collection, differing, signal);
    const mismatching = found.map((each) => each.id);
    await this.mismatches.resolve(id, without(ids, mismatching), signal);
    await this.#addMismatches(collection, found, signal);
    this.queue.keepPending(id, pending);
    this.#pending.set(id, (this.#pending.get(id) ?? 0) + pending.length);
  }

  /** The collection if it is there to be compared. */
  #live(id: string): MigratedCollection | undefined {
    const collection = this.#context.collections.get(id);
    return collection === undefined || collection.dropped ? undefined : collection;
  }

  async #forgetDropped(signal: AbortSignal): Promise<void> {
    for (const id of this.mismatches.collections) {
      if (this.#live(id) !== undefined) continue;
      await this.mismatches.forget(id, signal);
      this.#context.onChange();
    }
  }

  async #addMismatches(
    collection: MigratedCollection,
    found: readonly Difference[],
    signal: AbortSignal,
  ): Promise<void> {
    const news = await this.mismatches.add(collection, found, signal);
    if (news.length === 0) return;
    metrics.mismatches.add(news.length);
    this.#context.logger.error('Documents differ between the clusters', {
      namespace: collection.name,
      found: news.length,
      kinds: [...new Set(news.map(({ kind }) => kind))],
    });
    this.#context.onChange();
  }

  async #differences(collection: MigratedCollection, ids: readonly Buffer[], signal: AbortSignal): Promise<Judged> {
    const { missing, extra, changed } = await differingIds(this.#context, collection, ids, signal);
    const pending = await this.#expired(collection, { missing, extra }, signal);
    const found: Difference[] = [
      ...without(missing, pending).map((id) => ({
        collection: collection.id,
        id,
        kind: 'missing' as const,
        field: '',
      })),
      ...without(extra, pending).map((id) => ({ collection: collection.id, id, kind: 'extra' as const, field: '' })),
    ];
    await mapLimit(
      changed,
      PARALLEL_DOCUMENTS,
      async (id, inner) => {
        const difference = await differenceOf(this.#context, collection, id, inner);
        if (difference !== undefined) found.push({ collection: collection.id, id, ...difference });
      },
      signal,
    );
    return { found, pending };
  }

  /** Those that are on one side only since they have expired on the other. */
  async #expired(
    collection: MigratedCollection,
    { missing, extra }: Pick<DifferingIds, 'missing' | 'extra'>,
    signal: AbortSignal,
  ): Promise<Buffer[]> {
    const { expiresOnBoth, source, destination } = this.#context;
    const rules = ttlRules(collection.options, collection.indexes);
    const { now } = source;
    if (now === undefined || rules.length === 0) return [];
    const here = { cluster: destination, ns: collection.ns };
    const there = { cluster: source, ns: collection.sourceNs };
    const on = (at: typeof here, where: CollectionAt, ids: readonly Buffer[]): Promise<Buffer[]> =>
      selectIds(at.cluster, where, ids, (doc) => hasExpired(at, doc, rules, secondsOf(now), signal), signal);
    return [
      ...(await on(here, onDestination(collection, this.#context), extra)),
      ...(expiresOnBoth ? await on(there, onSource(collection, this.#context), missing) : []),
    ];
  }

  /** From the streams' names of collections to the map's; what is in neither is not part of the migration. */
  #byCollection(taken: DirtyIds): DirtyIds {
    const names = new Map<string, MigratedCollection>();
    for (const each of this.#context.collections.live()) {
      names.set(`source:${each.id}`, each);
      names.set(`source:${nsText(each.sourceNs)}`, each);
      names.set(`destination:${hex(each.destinationUuid?.buffer)}`, each);
      names.set(`destination:${nsText(each.ns)}`, each);
    }
    const result: DirtyIds = new Map();
    for (const [name, ids] of taken) {
      const collection = names.get(name);
      if (collection?.capped === true) this.#cappedWrites?.add(collection.id);
      if (collection !== undefined && isFollowed(collection, this.#context)) addIds(result, collection.id, ids);
    }
    return result;
  }
}

function grouped(records: readonly { readonly collection: string; readonly id: Buffer }[]): Map<string, Buffer[]> {
  const result = new Map<string, Buffer[]>();
  for (const { collection, id } of records) {
    const own = result.get(collection) ?? [];
    result.set(collection, own);
    own.push(id);
  }
  return result;
}

function without(ids: readonly Buffer[], others: readonly Buffer[]): Buffer[] {
  const keys = new Set(others.map(idKey));
  return ids.filter((each) => !keys.has(idKey(each)));
}

function hex(buffer: Uint8Array | undefined): string {
  return buffer === undefined ? '' : Buffer.from(buffer).toString('hex');
}
