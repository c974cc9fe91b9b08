import { Binary, canonicalText, decodeOrdered, type OrderedDoc } from '../cluster/bson.js';
import { findCollection } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { carriedOptions, immediateChange, modifiedOptions } from '../cluster/collection-spec.js';
import {
  changeCatalog,
  createCollection,
  dropCollection,
  dropView,
  renameCollection,
  sendCreate,
} from '../cluster/destination-catalog.js';
import { type DocumentFilter, refuseCollated } from '../cluster/document-filter.js';
import { indexName, modifiedIndex } from '../cluster/index-spec.js';
import { isConvertToCappedTemporary, isIgnored, type Namespace, nsText } from '../cluster/namespace.js';
import { findField } from '../cluster/raw-document.js';
import { uuidText } from '../cluster/raw-writes.js';
import { AppError, InvariantError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { DdlRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { type ChangeEvent, namespaceOf, parseEvent, tokenOf } from './event.js';

/** What DDL needs of the index builder: its builds stand in the way of renames and drops. */
export interface IndexQueue {
  /** Stops the builds of these collections and begins no other until `release`. */
  hold(ids: readonly string[], signal: AbortSignal): Promise<void>;
  release(ids: readonly string[]): void;
  /** The wanted indexes of a collection have changed. */
  changed(id: string): void;
}

/** What DDL works with. */
export interface DdlContext {
  readonly destination: Cluster;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly indexes: IndexQueue;
  /** Copies a collection anew: some commands of the source write documents without events. */
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  readonly logger: Logger;
}

/** Events of renames and drops, the ones that must be completed first, are far smaller. */
const MAX_STORED_EVENT_BYTES = 4 * 1024 * 1024;

/** Commands that change how data is spread; following them is not possible without a sharded source. */
const SHARDING_EVENTS = new Set([
  'shardCollection',
  'reshardCollection',
  'refineCollectionShardKey',
  'movePrimary',
  'migrateChunkToNewShard',
  'migrateLastChunkFromShard',
]);

/**
 * Carries out DDL events on the destination, each exactly once. Replaying `rename A→B, create A` over its own result
 * would destroy B, so an intent is stored before an event and a done mark after it: on replay, done events are skipped
 * and the one in between is completed by comparing UUIDs. Call in stream order, with the touched collections drained.
 * Source: docs/04-apply.md.
 */
export class DdlApplier {
  readonly #context: DdlContext;
  #record: DdlRecord = { done: undefined, intent: undefined };

  constructor(context: DdlContext) {
    this.#context = context;
  }

  /**
   * Reads what an earlier run stored, and completes the event it was carrying out: until then the map may name what
   * the destination no longer has, and the events that are replayed before it would not find their collections.
   */
  async load(signal: AbortSignal): Promise<void> {
    this.#record = await this.#context.store.loadDdl(signal);
    const { intent } = this.#record;
    if (intent?.event === undefined) return;
    this.#context.logger.info('Completing the DDL event that an earlier run had begun');
    await this.#carryOut(parseEvent(intent.event), true, signal);
    await this.#store({ done: intent.token, intent: undefined }, signal);
  }

  /** The live collections whose queued events must be applied before this event is. */
  touched(event: ChangeEvent): MigratedCollection[] {
    const { collections } = this.#context;
    if (event.operation === 'dropDatabase') return collections.live().filter((each) => sameDatabase(each.ns, event.db));
    if (event.operation === 'createIndexes' || event.operation === 'dropIndexes') return [];
    const ids = [event.collection, dropTargetOf(event)];
    return ids
      .map((id) => (id === undefined ? undefined : collections.get(id)))
      .filter((each): each is MigratedCollection => each !== undefined);
  }

  /** Returns whether the event was carried out now (false: done before, or not ours). */
  async apply(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    if (isIgnored(namespaceOf(event))) return false;
    const token = tokenOf(event);
    const { done, intent } = this.#record;
    if (done !== undefined && token <= done) return false;
    const isReplay = intent?.token === token;
    const stored = event.raw.length <= MAX_STORED_EVENT_BYTES ? event.raw : undefined;
    if (!isReplay) await this.#store({ done, intent: { token, event: stored } }, signal);
    await traced('apply DDL', { operation: event.operation }, () => this.#carryOut(event, isReplay, signal));
    await this.#store({ done: token, intent: undefined }, signal);
    this.#context.logger.debug(`Applied ${event.operation} of ${event.db}.${event.coll}`);
    return true;
  }

  async #store(record: DdlRecord, signal: AbortSignal): Promise<void> {
    await this.#context.store.saveDdl(record, signal);
    this.#record = record;
  }

  async #carryOut(event: ChangeEvent, isReplay: boolean, signal: AbortSignal): Promise<void> {
    switch (event.operation) {
      case 'create':
        return event.collection === undefined
          ? this.#createView(event, signal)
          : this.#create(event, event.collection, isReplay, signal);
      case 'drop':
        return this.#drop(event, signal);
      case 'rename':
        return this.#rename(event, signal);
      case 'dropDatabase':
        return this.#dropDatabase(event, signal);
      case 'modify':
        return event.collection === undefined
          ? this.#modifyView(event, signal)
          : this.#modify(event, event.collection, signal);
      case 'createIndexes':
      case 'dropIndexes':
        return this.#changeIndexes(event, signal);
      default:
        throw unsupported(event);
    }
  }

  async #create(event: ChangeEvent, id: string, isReplay: boolean, signal: AbortSignal): Promise<void> {
    const { destination, collections } = this.#context;
    const ns = namespaceOf(event);
    const known = collections.get(id);
    if (known?.destinationUuid !== undefined) return this.#fillCapped(known, signal);
    if (!isReplay && (await findCollection(destination, ns, signal)) !== undefined) {
      throw new AppError(
        'DestinationModified',
        `${nsText(ns)} on the destination was created by someone else during the migration`,
      );
    }
    const options = carriedOptions(descriptionOf(event));
    refuseCollated(this.#context.filter, ns, options);
    const destinationUuid = await createCollection(destination, ns, options, true, signal);
    const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
    const [added] = await collections.add(
      [{ id, ns, destinationUuid, options, indexes: [], dropped: false, copy }],
      signal,
    );
    if (added !== undefined) await this.#fillCapped(added, signal);
  }

  /** cloneCollectionAsCapped looks just like the creation of a capped collection, and its documents emit no events. */
  async #fillCapped(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    if (collection.capped && !isConvertToCappedTemporary(collection.ns.coll)) {
      await this.#context.copyAgain(collection, signal);
    }
  }

  async #createView(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const ns = namespaceOf(event);
    const options = carriedOptions(descriptionOf(event));
    if (canonicalText(options).includes('$_internalUnpackBucket')) {
      throw new AppError(
        'UnsupportedChange',
        `the time-series collection ${nsText(ns)} was created on the source during the migration; time-series collections cannot be migrated`,
      );
    }
    await this.#context.collections.putView({ ns, options }, signal);
    await sendCreate(this.#context.destination, ns, options, signal);
  }

  async #drop(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections, destination } = this.#context;
    if (event.collection === undefined) {
      await dropView(destination, namespaceOf(event), signal);
      await collections.deleteView(namespaceOf(event), signal);
      return;
    }
    const collection = collections.get(event.collection);
    if (collection !== undefined && !collection.dropped) await this.#dropOne(collection, signal);
  }

  async #dropOne(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    const { collections, destination, indexes } = this.#context;
    if (collection.destinationUuid === undefined)
      throw new InvariantError(`${nsText(collection.ns)} has no UUID on the destination`);
    await indexes.hold([collection.id], signal);
    try {
      await dropCollection(destination, collection.ns, collection.destinationUuid, signal);
      await collections.update(collection.id, { dropped: true }, signal);
    } finally {
      indexes.release([collection.id]);
    }
  }

  async #rename(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections, destination, indexes } = this.#context;
    const collection = event.collection === undefined ? undefined : collections.get(event.collection);
    const to = targetOf(event);
    if (collection === undefined)
      throw new InvariantError(`a rename of the unknown collection ${event.db}.${event.coll}`);
    if (collection.destinationUuid === undefined)
      throw new InvariantError(`${nsText(collection.ns)} has no UUID on the destination`);
    const targetId = dropTargetOf(event);
    const target = targetId === undefined ? undefined : collections.get(targetId);
    const held = [collection.id, ...(target === undefined ? [] : [target.id])];
    await indexes.hold(held, signal);
    try {
      await renameCollection(
        destination,
        { from: namespaceOf(event), to, uuid: collection.destinationUuid, target: target?.destinationUuid },
        signal,
      );
      if (target !== undefined) await collections.update(target.id, { dropped: true }, signal);
      const renamed = await collections.update(collection.id, { ns: to }, signal);
      if (isConvertToCappedTemporary(event.coll)) await this.#context.copyAgain(renamed, signal);
    } finally {
      indexes.release(held);
    }
  }

  /** One by one: the command would need a privilege the documented roles lack, and take what is not ours. */
  async #dropDatabase(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections, destination } = this.#context;
    for (const each of collections.live()) if (sameDatabase(each.ns, event.db)) await this.#dropOne(each, signal);
    for (const view of collections.views()) {
      if (!sameDatabase(view.ns, event.db)) continue;
      await dropView(destination, view.ns, signal);
      await collections.deleteView(view.ns, signal);
    }
  }

  async #modify(event: ChangeEvent, id: string, signal: AbortSignal): Promise<void> {
    const { collections, destination, indexes } = this.#context;
    const collection = collections.get(id);
    if (collection === undefined || collection.dropped) return;
    const change = descriptionOf(event);
    const now = immediateChange(change);
    if (Object.keys(now).length > 0) {
      // A collMod is refused (12587) while an index of the collection is being built.
      await indexes.hold([id], signal);
      try {
        await changeCatalog(destination, collection.ns.db, { collMod: collection.ns.coll, ...now }, signal);
      } finally {
        indexes.release([id]);
      }
    }
    const index = change.get('index');
    await collections.update(
      id,
      {
        options: modifiedOptions(collection.options, change),
        indexes:
          index instanceof Map
            ? collection.indexes.map((spec) => (isNamedBy(spec, index) ? modifiedIndex(spec, index) : spec))
            : collection.indexes,
      },
      signal,
    );
  }

  async #modifyView(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections, destination } = this.#context;
    const ns = namespaceOf(event);
    const view = collections.view(ns);
    if (view === undefined) return;
    const change = descriptionOf(event);
    await changeCatalog(destination, ns.db, { collMod: ns.coll, ...Object.fromEntries(change) }, signal);
    await collections.putView({ ns, options: new Map([...view.options, ...change]) }, signal);
  }

  async #changeIndexes(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections, indexes } = this.#context;
    const collection = event.collection === undefined ? undefined : collections.get(event.collection);
    if (collection === undefined || collection.dropped) return;
    const specs = descriptionOf(event).get('indexes') as OrderedDoc[];
    const names = new Set(specs.map(indexName));
    const others = collection.indexes.filter((spec) => !names.has(indexName(spec)));
    await collections.update(
      collection.id,
      { indexes: event.operation === 'createIndexes' ? [...others, ...specs] : others },
      signal,
    );
    indexes.changed(collection.id);
  }
}

function descriptionOf(event: ChangeEvent): OrderedDoc {
  const field = findField(event.raw, 'operationDescription');
  return field === undefined ? new Map() : decodeOrdered(event.raw.subarray(field.start, field.end));
}

function targetOf(event: ChangeEvent): Namespace {
  const to = descriptionOf(event).get('to');
  if (!(to instanceof Map)) throw new AppError('Internal', 'a rename event without a target was read');
  return { db: String(to.get('db')), coll: String(to.get('coll')) };
}

function dropTargetOf(event: ChangeEvent): string | undefined {
  if (event.operation !== 'rename') return undefined;
  const uuid = descriptionOf(event).get('dropTarget');
  return uuid instanceof Binary ? uuidText(uuid) : undefined;
}

/** Names of databases may not differ only in case, so they compare without it. */
function sameDatabase(ns: Namespace, db: string): boolean {
  return ns.db.toLowerCase() === db.toLowerCase();
}

function isNamedBy(spec: OrderedDoc, change: OrderedDoc): boolean {
  const name = change.get('name');
  if (name !== undefined) return indexName(spec) === String(name);
  return canonicalText(spec.get('key')) === canonicalText(change.get('keyPattern'));
}

function unsupported(event: ChangeEvent): AppError {
  const what = SHARDING_EVENTS.has(event.operation)
    ? 'sharding of the source may not change during a migration'
    : 'this version does not know how to follow it';
  return new AppError(
    'UnsupportedChange',
    `${event.operation} of ${event.db}.${event.coll} was run on the source during the migration: ${what}`,
  );
}
