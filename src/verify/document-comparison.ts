import type { Timestamp } from '../cluster/bson.js';
import { decodeOrdered } from '../cluster/bson.js';
import { nsText } from '../cluster/namespace.js';
import { secondsOf } from '../cluster/position.js';
import { hasExpired, ttlRules } from '../cluster/ttl.js';
import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { compareIds, differenceOf, isFollowed } from './compare-ids.js';
import type { VerifyContext } from './context.js';
import type { Difference } from './difference.js';
import { type DirtyIds, DirtySet } from './dirty-set.js';
import { Mismatches } from './mismatches.js';
import { RecheckQueue } from './recheck-queue.js';

/** Documents that wait for their comparison because a stream named them. */
const MAX_DIRTY = 50_000;
const PARALLEL_COLLECTIONS = 4;
const PARALLEL_DOCUMENTS = 8;

/**
 * The comparison of single documents: of those that a change stream has named, of those that differed, and of known
 * mismatches. Calls must not overlap.
 */
export class DocumentComparison {
  readonly dirty = new DirtySet(MAX_DIRTY);
  readonly queue: RecheckQueue;
  readonly mismatches: Mismatches;
  readonly #context: VerifyContext;
  readonly #unreadable = new Set<string>();

  constructor(context: VerifyContext) {
    this.#context = context;
    this.queue = new RecheckQueue(context.store);
    this.mismatches = new Mismatches(context.store);
  }

  async load(signal: AbortSignal): Promise<void> {
    await this.queue.load(signal);
    await this.mismatches.load(signal);
  }

  get isIdle(): boolean {
    return this.dirty.size === 0 && this.queue.size === 0;
  }

  /**
   * Compares what the streams have named since the last call, and what differed then. A document that has differed
   * several times, with nothing changing it, is a mismatch. `readUpTo`: how far the source's stream has been read.
   */
  async compareChanged(readUpTo: Timestamp | undefined, signal: AbortSignal): Promise<void> {
    const { source, applied } = this.#context;
    const taken = this.dirty.take();
    // What differs before the applier is there says nothing; and a collection may not be known before.
    if (source.now !== undefined) await applied(source.now, signal);
    const changed = this.#byCollection(taken);
    await mapLimit(
      merged(changed, this.queue.ids()),
      PARALLEL_COLLECTIONS,
      ([id, ids], inner) => this.#compare(id, ids, changed.get(id) ?? new Map(), readUpTo, inner),
      signal,
    );
  }

  /**
   * Compares everything that is not known to be equal, when nothing moves any more: what differs is a mismatch at once.
   * Expiry goes on at an unblocked source, so a document that had expired may be gone there already.
   */
  async judge(signal: AbortSignal): Promise<void> {
    const { source, applied } = this.#context;
    // A forbidden write to the source is the applier's to name.
    if (source.now !== undefined) await applied(source.now, signal);
    for (const [id, ids] of merged(this.#byCollection(this.dirty.take()), this.queue.ids())) {
      await this.#judge(id, [...ids.values()], signal);
    }
    for await (const page of this.mismatches.pages(signal)) {
      for (const [id, ids] of grouped(page)) await this.#judge(id, ids, signal);
    }
  }

  /** Compares the known mismatches again; those that are equal by now are mismatches no longer. */
  async recheckMismatches(signal: AbortSignal): Promise<void> {
    for await (const page of this.mismatches.pages(signal)) {
      for (const [id, ids] of grouped(page)) {
        const collection = this.#context.collections.get(id);
        const outcome =
          collection === undefined || collection.dropped
            ? { differing: [] }
            : await compareIds(this.#context, collection, ids, signal);
        if (outcome !== 'gone') await this.mismatches.resolve(id, without(ids, outcome.differing), signal);
      }
    }
  }

  async #compare(
    id: string,
    ids: Map<string, Buffer>,
    changed: ReadonlyMap<string, Buffer>,
    readUpTo: Timestamp | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const collection = this.#context.collections.get(id);
    if (collection === undefined || collection.dropped) {
      this.queue.forget(id);
      return;
    }
    const all = [...ids.values()];
    const outcome = await compareIds(this.#context, collection, all, signal);
    if (outcome === 'gone') {
      this.queue.add(id, all);
      return;
    }
    this.#noteUnreadable(collection, outcome.unreadable);
    const { differing } = outcome;
    const confirmed = this.queue.note(id, {
      compared: ids,
      differing,
      changed,
      readUpTo,
      now: this.#context.source.now,
    });
    await this.mismatches.resolve(id, without(all, differing), signal);
    const found = await this.#differences(collection, confirmed, signal);
    await this.#addMismatches(collection, found, signal);
  }

  async #judge(id: string, ids: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const collection = this.#context.collections.get(id);
    if (collection === undefined || collection.dropped) {
      await this.mismatches.resolve(id, ids, signal);
      return;
    }
    const outcome = await compareIds(this.#context, collection, ids, signal);
    if (outcome === 'gone') return;
    const found = await this.#differences(collection, outcome.differing, signal);
    await this.mismatches.resolve(
      id,
      without(
        ids,
        found.map((each) => each.id),
      ),
      signal,
    );
    await this.#addMismatches(collection, found, signal);
  }

  async #addMismatches(
    collection: MigratedCollection,
    found: readonly Difference[],
    signal: AbortSignal,
  ): Promise<void> {
    if (found.length === 0) return;
    await this.mismatches.add(collection, found, signal);
    this.#context.logger.error('Documents differ between the clusters', {
      namespace: collection.name,
      found: found.length,
      kinds: [...new Set(found.map(({ kind }) => kind))],
    });
    this.#context.onChange();
  }

  async #differences(
    collection: MigratedCollection,
    ids: readonly Buffer[],
    signal: AbortSignal,
  ): Promise<Difference[]> {
    const rules = ttlRules(collection.options, collection.indexes);
    const found = await mapLimit(
      ids,
      PARALLEL_DOCUMENTS,
      async (id, inner) => {
        const difference = await differenceOf(this.#context, collection, id, inner);
        if (difference === undefined) return [];
        const { kind, destination } = difference;
        const now = this.#context.source.now;
        const expired =
          kind === 'extra' &&
          destination !== undefined &&
          now !== undefined &&
          hasExpired(decodeOrdered(destination), rules, secondsOf(now));
        return expired ? [] : [{ collection: collection.id, id, kind }];
      },
      signal,
    );
    return found.flat();
  }

  /** From the streams' names of collections to the map's; what is in neither is not part of the migration. */
  #byCollection(taken: DirtyIds): DirtyIds {
    const live = this.#context.collections.live().filter((each) => isFollowed(each, this.#context));
    const names = new Map<string, string>();
    for (const each of live) {
      names.set(`source:${each.id}`, each.id);
      names.set(`source:${nsText(each.sourceNs)}`, each.id);
      names.set(`destination:${hex(each.destinationUuid?.buffer)}`, each.id);
    }
    const result: DirtyIds = new Map();
    for (const [name, ids] of taken) {
      const id = names.get(name);
      if (id === undefined) continue;
      const own = result.get(id) ?? new Map<string, Buffer>();
      for (const [text, each] of ids) own.set(text, each);
      result.set(id, own);
    }
    return result;
  }

  #noteUnreadable(collection: MigratedCollection, ids: readonly Buffer[]): void {
    const ns = collection.name;
    if (ids.length === 0 || this.#unreadable.has(ns)) return;
    this.#unreadable.add(ns);
    this.#context.onWarning(
      `${ns} holds documents whose _id no query can name; only their first state is verified, not their changes`,
    );
  }
}

function merged(a: DirtyIds, b: DirtyIds): DirtyIds {
  const result: DirtyIds = new Map([...a].map(([collection, ids]) => [collection, new Map(ids)]));
  for (const [collection, ids] of b) {
    const own = result.get(collection) ?? new Map<string, Buffer>();
    for (const [key, id] of ids) own.set(key, id);
    result.set(collection, own);
  }
  return result;
}

function grouped(records: readonly { readonly collection: string; readonly id: Buffer }[]): Map<string, Buffer[]> {
  const result = new Map<string, Buffer[]>();
  for (const { collection, id } of records) result.set(collection, [...(result.get(collection) ?? []), id]);
  return result;
}

function without(ids: readonly Buffer[], others: readonly Buffer[]): Buffer[] {
  const keys = new Set(others.map((each) => each.toString('latin1')));
  return ids.filter((each) => !keys.has(each.toString('latin1')));
}

function hex(buffer: Uint8Array | undefined): string {
  return buffer === undefined ? '' : Buffer.from(buffer).toString('hex');
}
