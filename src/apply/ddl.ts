import { Binary, canonicalText, decodeOrdered, type OrderedDoc } from '../cluster/bson.js';
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
import { isConvertToCappedTemporary, isOutTemporary, type Namespace, nsText } from '../cluster/namespace.js';
import { findField } from '../cluster/raw-document.js';
import { uuidText } from '../cluster/raw-writes.js';
import type { Scope } from '../cluster/scope.js';
import { AppError, InvariantError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap, MigratedCollection, MigratedView } from '../metadata/collections.js';
import type { DdlRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { adopt } from './adopt.js';
import { entersFilter, leavesFilter, mustBeFree, mustNotClash } from './border.js';
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
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly scope: Scope;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly indexes: IndexQueue;
  /** Copies a collection anew: some commands of the source write documents without events. */
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  readonly logger: Logger;
  readonly onWarning: (warning: string) => void;
}

/** Events of renames and drops, the ones that must be completed first, are far smaller. */
const MAX_STORED_EVENT_BYTES = 4 * 1024 * 1024;

/** Of views they have no collection's UUID. */
const VIEW_EVENTS = new Set(['create', 'modify', 'drop']);

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
    if (event.operation === 'dropDatabase')
      return collections.live().filter((each) => sameDatabase(each.sourceNs, event.db));
    if (event.operation === 'createIndexes' || event.operation === 'dropIndexes') return [];
    const ids = [event.collection, dropTargetOf(event)];
    return ids
      .map((id) => (id === undefined ? undefined : collections.get(id)))
      .filter((each): each is MigratedCollection => each !== undefined);
  }

  /** Whether an event is about anything that is migrated: a rename by either of its names. */
  async concerns(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    const { collections, scope } = this.#context;
    if (event.collection !== undefined && collections.get(event.collection) !== undefined) return true;
    if (event.operation === 'dropDatabase')
      return [...collections.live(), ...collections.views()].some((each) => sameDatabase(each.sourceNs, event.db));
    if (await scope.follows(namespaceOf(event), signal)) return true;
    return event.operation === 'rename' && (await scope.follows(targetOf(event), signal));
  }

  /** As `concerns`, for an event after the commit time: what happens to views that are not migrated changes nothing. */
  async wouldBeMissed(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    const isView = event.collection === undefined && VIEW_EVENTS.has(event.operation) && !isTimeSeries(event);
    return !(isView && !this.#context.scope.migratesViews) && (await this.concerns(event, signal));
  }

  /** Returns whether the event was carried out now (false: done before, or not ours). */
  async apply(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    if (!(await this.concerns(event, signal))) return false;
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
          ? this.#createView(event, isReplay, signal)
          : this.#create(event, event.collection, isReplay, signal);
      case 'drop':
        return this.#drop(event, signal);
      case 'rename':
        return this.#rename(event, isReplay, signal);
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
    const { destination, collections, scope } = this.#context;
    const sourceNs = namespaceOf(event);
    const ns = scope.target(sourceNs);
    const known = collections.get(id);
    if (known?.destinationUuid !== undefined) return this.#fillCapped(known, signal);
    await mustBeFree(this.#context, sourceNs, isReplay, signal);
    const options = carriedOptions(descriptionOf(event));
    refuseCollated(this.#context.filter, ns, options);
    const destinationUuid = await createCollection(destination, ns, options, true, signal);
    const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
    const [added] = await collections.add(
      [{ id, ns, sourceNs, destinationUuid, options, indexes: [], dropped: false, copy }],
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

  async #createView(event: ChangeEvent, isReplay: boolean, signal: AbortSignal): Promise<void> {
    const { collections, destination, scope } = this.#context;
    const sourceNs = namespaceOf(event);
    const ns = scope.target(sourceNs);
    const options = carriedOptions(descriptionOf(event));
    if (isTimeSeries(event)) {
      throw new AppError(
        'UnsupportedChange',
        `the time-series collection ${nsText(sourceNs)} was created on the source during the migration; time-series collections cannot be migrated`,
      );
    }
    if (!scope.migratesViews) {
      const text = `the view ${nsText(sourceNs)}, created meanwhile, is not migrated, since preExistingDestinationData is set`;
      return this.#context.onWarning(text);
    }
    await mustBeFree(this.#context, sourceNs, isReplay, signal);
    await collections.putView({ ns, sourceNs, options }, signal);
    await sendCreate(destination, ns, options, signal);
  }

  async #drop(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections } = this.#context;
    if (event.collection === undefined) return this.#dropView(collections.view(namespaceOf(event)), signal);
    const collection = collections.get(event.collection);
    if (collection !== undefined && !collection.dropped) await this.#dropOne(event, collection, signal);
  }

  /** Only what the map has: a view of that name may be somebody else's. */
  async #dropView(view: MigratedView | undefined, signal: AbortSignal): Promise<void> {
    if (view === undefined) return;
    await dropView(this.#context.destination, view.ns, signal);
    await this.#context.collections.deleteView(view.sourceNs, signal);
  }

  async #dropOne(event: ChangeEvent, collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    const { collections, destination, indexes } = this.#context;
    if (collection.destinationUuid === undefined)
      throw new InvariantError(`${collection.name} has no UUID on the destination`);
    await indexes.hold([collection.id], signal);
    try {
      await dropCollection(destination, collection.ns, collection.destinationUuid, signal);
      await collections.update(collection.id, { dropped: true, droppedBy: tokenOf(event) }, signal);
    } finally {
      indexes.release([collection.id]);
    }
  }

  async #rename(event: ChangeEvent, isReplay: boolean, signal: AbortSignal): Promise<void> {
    const { collections, destination, indexes, scope } = this.#context;
    const from = namespaceOf(event);
    const sourceNs = targetOf(event);
    const to = scope.target(sourceNs);
    if (!(await scope.follows(from, signal)) || !(await scope.follows(sourceNs, signal)))
      return this.#renameAcrossFilter(event, isReplay, signal);
    const collection = event.collection === undefined ? undefined : collections.get(event.collection);
    if (collection === undefined) throw new InvariantError(`a rename of the unknown collection ${nsText(from)}`);
    if (collection.destinationUuid === undefined)
      throw new InvariantError(`${collection.name} has no UUID on the destination`);
    mustNotClash(this.#context, sourceNs);
    const targetId = dropTargetOf(event);
    const target = targetId === undefined ? undefined : collections.get(targetId);
    const held = [collection.id, ...(target === undefined ? [] : [target.id])];
    await indexes.hold(held, signal);
    try {
      await renameCollection(
        destination,
        { from: scope.target(from), to, uuid: collection.destinationUuid, target: target?.destinationUuid },
        signal,
      );
      if (target !== undefined)
        await collections.update(target.id, { dropped: true, droppedBy: tokenOf(event) }, signal);
      const renamed = await collections.update(collection.id, { ns: to, sourceNs }, signal);
      if (isConvertToCappedTemporary(event.coll)) await this.#context.copyAgain(renamed, signal);
    } finally {
      indexes.release(held);
    }
  }

  /**
   * A rename by which a collection enters or leaves the filter. Only what `$out` has written into a temporary
   * collection, or convertToCapped, can enter: its documents were not followed, so it is copied.
   */
  async #renameAcrossFilter(event: ChangeEvent, isReplay: boolean, signal: AbortSignal): Promise<void> {
    const { collections, scope } = this.#context;
    const from = namespaceOf(event);
    const to = targetOf(event);
    if (!(await scope.follows(to, signal))) throw leavesFilter(from, to);
    const isTemporary = isOutTemporary(from.coll) || isConvertToCappedTemporary(from.coll);
    if (event.collection === undefined || !isTemporary) throw entersFilter(from, to);
    const targetId = dropTargetOf(event);
    const target = targetId === undefined ? undefined : collections.get(targetId);
    if (target !== undefined && !target.dropped) await this.#dropOne(event, target, signal);
    if (collections.get(event.collection) === undefined) await mustBeFree(this.#context, to, isReplay, signal);
    await adopt(this.#context, event.collection, to, signal);
  }

  /** One by one: the command would need a privilege the documented roles lack, and take what is not ours. */
  async #dropDatabase(event: ChangeEvent, signal: AbortSignal): Promise<void> {
    const { collections } = this.#context;
    for (const each of collections.live())
      if (sameDatabase(each.sourceNs, event.db)) await this.#dropOne(event, each, signal);
    for (const view of collections.views())
      if (sameDatabase(view.sourceNs, event.db)) await this.#dropView(view, signal);
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
    const view = collections.view(namespaceOf(event));
    if (view === undefined) return;
    const { ns } = view;
    const change = descriptionOf(event);
    await changeCatalog(destination, ns.db, { collMod: ns.coll, ...Object.fromEntries(change) }, signal);
    await collections.putView({ ...view, options: new Map([...view.options, ...change]) }, signal);
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

/** A time-series collection shows as the view on its buckets. */
function isTimeSeries(event: ChangeEvent): boolean {
  return canonicalText(descriptionOf(event)).includes('$_internalUnpackBucket');
}

function descriptionOf(event: ChangeEvent): OrderedDoc {
  return fieldOf(event, 'operationDescription') ?? new Map();
}

function fieldOf(event: ChangeEvent, name: string): OrderedDoc | undefined {
  const field = findField(event.raw, name);
  return field === undefined ? undefined : decodeOrdered(event.raw.subarray(field.start, field.end));
}

function targetOf(event: ChangeEvent): Namespace {
  // Before 6.0 it stands beside the namespace.
  const to = descriptionOf(event).get('to') ?? fieldOf(event, 'to');
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
