/** Maps the source's collections to the destination's, in memory and in the metadata. */
import { type Binary, decodeOrdered, encode, type OrderedDoc } from '../bson/bson.js';
import { type KeyPaths, UNSHARDED } from '../bson/key-query.js';
import type { Position } from '../bson/position.js';
import { isCapped, isCollated } from '../catalog/collection-spec.js';
import { describeNs, type Namespace, nsText } from '../catalog/namespace.js';
import { keyPaths, type ShardKey } from '../catalog/shard-keys.js';
import { InvariantError } from '../errors.js';
import { KeyedSerialQueue } from '../lib/keyed-serial-queue.js';
import type { CollectionRecord, CopyRecord, StoredShardKey } from './records.js';
import type { MetadataStore } from './store.js';

/** A source collection as the engine handles it: its place on the destination, and what it must become there. */
export interface MigratedCollection {
  /** Hexadecimal source UUID. */
  readonly id: string;
  /** Its namespace on the destination now. */
  readonly ns: Namespace;
  /** Its namespace on the source, unless a rename there has not been applied yet. */
  readonly sourceNs: Namespace;
  /** For messages: the source's name, and the destination's where that is another one. */
  readonly name: string;
  readonly destinationUuid: Binary | undefined;
  readonly options: OrderedDoc;
  readonly indexes: readonly OrderedDoc[];
  /** Indexes of the destination that the migration does not build and leaves as they are (after a reversal). */
  readonly kept?: readonly OrderedDoc[];
  /** How it is sharded on the source, and how on the destination; undefined: not at all. */
  readonly shardKeys?: ShardKeyPair | undefined;
  readonly dropped: boolean;
  /** The event that dropped it. */
  readonly droppedBy?: Position;
  readonly copy: CopyRecord;
  /** Order is data: one writer, stream order. */
  readonly capped: boolean;
  /** Different strings may be one key. */
  readonly collated: boolean;
  /** The fields of its shard keys. */
  readonly keyPaths: KeyPaths;
}

/** How a collection is sharded on either side; undefined: it is not. */
export interface ShardKeyPair {
  readonly source?: ShardKey | undefined;
  readonly destination?: ShardKey | undefined;
}

/** A view and its options. */
export interface MigratedView {
  /** On the destination. */
  readonly ns: Namespace;
  readonly sourceNs: Namespace;
  readonly options: OrderedDoc;
}

/** The fields of a collection that are to change. */
export type CollectionChanges = Partial<
  Pick<
    MigratedCollection,
    | 'ns'
    | 'sourceNs'
    | 'destinationUuid'
    | 'options'
    | 'indexes'
    | 'kept'
    | 'shardKeys'
    | 'dropped'
    | 'droppedBy'
    | 'copy'
  >
>;

/** What the map needs of the store. */
export type CatalogStore = Pick<
  MetadataStore,
  'loadCollections' | 'loadViews' | 'saveCollections' | 'saveViews' | 'deleteCollections' | 'deleteView'
>;

/**
 * The map from source UUIDs to the destination, kept in memory and stored with every change: change events name
 * collections by UUID, so that drops and renames cannot mix up two that had one name.
 */
export class CollectionMap {
  readonly #store: CatalogStore;
  readonly #byId = new Map<string, MigratedCollection>();
  readonly #live = new Map<string, MigratedCollection>();
  readonly #views = new Map<string, MigratedView>();
  /** One change of a record at a time: of two at once the later write would bring back what the other one has changed. */
  readonly #queue = new KeyedSerialQueue();
  #version = 0;

  constructor(store: CatalogStore) {
    this.#store = store;
  }

  async load(signal: AbortSignal): Promise<void> {
    this.#byId.clear();
    this.#live.clear();
    this.#views.clear();
    this.#version++;
    for (const record of await this.#store.loadCollections(signal)) this.#set(fromRecord(record));
    for (const view of await this.#store.loadViews(signal)) {
      const { db, coll, sourceDb } = view;
      const sourceNs = { db: sourceDb, coll };
      this.#views.set(nsText(sourceNs), { ns: { db, coll }, sourceNs, options: decodeOrdered(view.options) });
    }
  }

  get(id: string): MigratedCollection | undefined {
    return this.#byId.get(id);
  }

  /** Another one after every change: for what is counted over all collections and asked for often. */
  get version(): number {
    return this.#version;
  }

  /** Collections that are not dropped. */
  live(): MigratedCollection[] {
    return [...this.#live.values()];
  }

  /** Those that the event at this position has dropped, as long as they are not forgotten. */
  droppedBy(position: Position): MigratedCollection[] {
    return [...this.#byId.values()].filter((each) => each.dropped && each.droppedBy?.equals(position) === true);
  }

  views(): MigratedView[] {
    return [...this.#views.values()];
  }

  /** By its namespace on the source. */
  view(sourceNs: Namespace): MigratedView | undefined {
    return this.#views.get(nsText(sourceNs));
  }

  /** Adds or replaces collections, in memory once they are stored. */
  add(collections: readonly NewCollection[], signal: AbortSignal): Promise<MigratedCollection[]> {
    const added = collections.map((each) => complete(each));
    return this.#queue.run(
      added.map(({ id }) => id),
      async () => {
        await this.#store.saveCollections(added.map(toRecord), signal);
        for (const each of added) this.#set(each);
        this.#version++;
        return added;
      },
    );
  }

  /**
   * Changes a collection, in memory once it is stored. What follows from the collection itself is given as a function:
   * it is called with the collection as all earlier changes have left it.
   */
  update(
    id: string,
    changes: CollectionChanges | ((current: MigratedCollection) => CollectionChanges),
    signal: AbortSignal,
  ): Promise<MigratedCollection> {
    return this.#queue.run([id], async () => {
      const current = this.#byId.get(id);
      if (current === undefined) throw new InvariantError(`collection ${id} is not in the map`);
      const next = complete({ ...current, ...(typeof changes === 'function' ? changes(current) : changes) });
      await this.#store.saveCollections([toRecord(next)], signal);
      this.#set(next);
      this.#version++;
      return next;
    });
  }

  /** Lets dropped collections go whose drop is at or before `position`: nothing that is replayed from there names them. */
  async forgetDropped(position: Position, signal: AbortSignal): Promise<void> {
    if (this.#byId.size === this.#live.size) return;
    const isPast = (each: MigratedCollection): boolean =>
      each.dropped && each.droppedBy?.isAtOrBefore(position) === true;
    const ids = [...this.#byId.values()].filter(isPast).map(({ id }) => id);
    if (ids.length === 0) return;
    await this.#store.deleteCollections(ids, signal);
    for (const id of ids) this.#byId.delete(id);
    this.#version++;
  }

  #set(collection: MigratedCollection): void {
    this.#byId.set(collection.id, collection);
    if (collection.dropped) this.#live.delete(collection.id);
    else this.#live.set(collection.id, collection);
  }

  async putView(view: MigratedView, signal: AbortSignal): Promise<void> {
    const record = { ...view.ns, sourceDb: view.sourceNs.db, options: encode(view.options) };
    await this.#store.saveViews([record], signal);
    this.#views.set(nsText(view.sourceNs), view);
  }

  async deleteView(sourceNs: Namespace, signal: AbortSignal): Promise<void> {
    await this.#store.deleteView(sourceNs, signal);
    this.#views.delete(nsText(sourceNs));
  }
}

/** What is needed to add a collection; the rest follows from its options. */
export type NewCollection = Omit<MigratedCollection, 'name' | 'capped' | 'collated' | 'keyPaths'>;

function complete(collection: NewCollection): MigratedCollection {
  return {
    ...collection,
    name: describeNs(collection.sourceNs, collection.ns),
    capped: isCapped(collection.options),
    collated: isCollated(collection.options),
    keyPaths: keyPathsOf(collection.shardKeys),
  };
}

/** The fields of a collection's shard keys. */
export function keyPathsOf(keys: ShardKeyPair | undefined): KeyPaths {
  if (keys === undefined) return UNSHARDED;
  return { source: keyPaths(keys.source?.key), destination: keyPaths(keys.destination?.key) };
}

function toRecord(each: MigratedCollection): CollectionRecord {
  return {
    id: each.id,
    db: each.ns.db,
    coll: each.ns.coll,
    sourceDb: each.sourceNs.db,
    destinationUuid: each.destinationUuid,
    options: encode(each.options),
    indexes: each.indexes.map(encode),
    ...(each.kept === undefined || each.kept.length === 0 ? {} : { kept: each.kept.map(encode) }),
    ...(each.shardKeys === undefined ? {} : { shardKeys: storedKeys(each.shardKeys) }),
    dropped: each.dropped,
    ...(each.droppedBy === undefined ? {} : { droppedBy: each.droppedBy }),
    copy: each.copy,
  };
}

function storedKeys({ source, destination }: ShardKeyPair): NonNullable<CollectionRecord['shardKeys']> {
  return {
    ...(source && { source: { ...source, key: encode(source.key) } }),
    ...(destination && { destination: { ...destination, key: encode(destination.key) } }),
  };
}

function shardKeyOf({ key, unique }: StoredShardKey): ShardKey {
  return { key: decodeOrdered(key), unique };
}

function fromRecord(record: CollectionRecord): MigratedCollection {
  return complete({
    id: record.id,
    ns: { db: record.db, coll: record.coll },
    sourceNs: { db: record.sourceDb, coll: record.coll },
    destinationUuid: record.destinationUuid,
    options: decodeOrdered(record.options),
    indexes: record.indexes.map(decodeOrdered),
    kept: (record.kept ?? []).map(decodeOrdered),
    shardKeys: record.shardKeys && {
      source: record.shardKeys.source && shardKeyOf(record.shardKeys.source),
      destination: record.shardKeys.destination && shardKeyOf(record.shardKeys.destination),
    },
    dropped: record.dropped,
    ...(record.droppedBy === undefined ? {} : { droppedBy: record.droppedBy }),
    copy: record.copy,
  });
}
