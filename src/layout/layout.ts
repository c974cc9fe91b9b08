/** Decides by which keys collections are sharded on the destination, and shards them. */
import type { OrderedDoc } from '../bson/bson.js';
import { type Namespace, nsText, sameNs } from '../catalog/namespace.js';
import type { ShardKey } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { ShardKeyPair } from '../metadata/collections.js';
import type { ShardingOption } from '../metadata/migration-options.js';
import { spreadPrimaries } from './primaries.js';
import { shardCollection } from './shard-collection.js';
import { spreadChunks } from './spread-chunks.js';

/** What a layout is made of. */
export interface LayoutParts {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  /** The start option; null: as on the source. */
  readonly sharding: ShardingOption | null;
  /** Whether the migration builds an index of the source's. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  readonly onWarning: (warning: string) => void;
}

/** A collection that is there on the destination, empty or not, and may have to be sharded. */
export interface LaidOut {
  readonly ns: Namespace;
  readonly options: OrderedDoc;
  readonly indexes: readonly OrderedDoc[];
  readonly shardKeys?: ShardKeyPair | undefined;
}

/**
 * How collections are spread over the destination. One that is sharded on the source keeps its key; those of a replica set
 * get the one that `sharding` names for them. On a replica set nothing is sharded, and the source's key is remembered: it
 * is part of what change events name documents by.
 */
export class Layout {
  readonly #parts: LayoutParts;

  constructor(parts: LayoutParts) {
    this.#parts = parts;
  }

  /** The keys of a collection of the source, on both sides; undefined: it is sharded on neither. */
  keysOf(sourceNs: Namespace, source: ShardKey | undefined): ShardKeyPair | undefined {
    const { destination } = this.#parts;
    const wanted = destination.isSharded ? (source ?? this.#named(sourceNs)) : undefined;
    return source === undefined && wanted === undefined ? undefined : { source, destination: wanted };
  }

  /**
   * Shards a collection of the destination as its keys say. Repeatable. Resolves with the indexes that are there for the
   * key alone. Errors: as `shardCollection`.
   */
  async spread(collection: LaidOut, signal: AbortSignal): Promise<readonly OrderedDoc[]> {
    const shardKey = collection.shardKeys?.destination;
    if (shardKey === undefined) return [];
    const { destination, isBuilt } = this.#parts;
    const { ns, options } = collection;
    return shardCollection(destination, { ns, shardKey, options, indexes: collection.indexes.filter(isBuilt) }, signal);
  }

  /**
   * Gives every shard its part of a collection that is empty still. What the server refuses is told and does no harm: its
   * balancer does it later.
   */
  async fillAlike(collection: LaidOut & { readonly sourceNs: Namespace }, signal: AbortSignal): Promise<void> {
    const key = collection.shardKeys?.destination?.key;
    if (key === undefined) return;
    const { ns, sourceNs } = collection;
    try {
      await spreadChunks(this.#parts, { ns, sourceNs, key }, signal);
    } catch (error) {
      if (codeOf(error) === undefined || isTransient(error)) throw error;
      this.#parts.onWarning(
        `${nsText(ns)} could not be spread over the destination's shards before the copy, so it goes to few of them: ${safeText(error)}`,
      );
    }
  }

  /** Creates the databases of some collections, on primary shards that carry alike. */
  async spreadDatabases(
    collections: readonly LaidOut[],
    sizes: ReadonlyMap<string, number>,
    signal: AbortSignal,
  ): Promise<void> {
    const databases = [...new Set(collections.map(({ ns }) => ns.db))];
    const weights = databases.map((db) => ({ db, bytes: sizes.get(db) ?? 0 }));
    await spreadPrimaries(this.#parts.destination, weights, signal);
  }

  #named(ns: Namespace): ShardKey | undefined {
    const entries = this.#parts.sharding?.shardingEntries ?? [];
    const entry = entries.find(({ database, collection }) => sameNs({ db: database, coll: collection }, ns));
    return entry && { key: new Map(entry.key.map(({ field, value }) => [field, value])), unique: false };
  }
}
