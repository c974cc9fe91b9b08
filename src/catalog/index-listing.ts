/** Lists the indexes of many collections with a few commands. */
import { Binary, decodeOrdered, type OrderedDoc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { codeOf, isTransient } from '../cluster/errors.js';
import { mapLimit } from '../lib/limit.js';
import { isOwnIndex, listIndexes, readAll } from './catalog.js';
import { sameUuid } from './collection-spec.js';
import { type Namespace, nsText } from './namespace.js';

/** From so many collections on, one reply with all that the server has costs less than one for each. */
const MANY = 50;
const PARALLEL = 8;

/** A collection as it was listed, or created. */
export interface KnownCollection {
  readonly ns: Namespace;
  readonly uuid: Binary | undefined;
}

/** What a server tells of a collection among all others. */
export interface ListedIndexes {
  /** The finished secondary ones, as in `listIndexesOf`. */
  readonly indexes: readonly OrderedDoc[];
  readonly isBuilding: boolean;
}

/**
 * The finished secondary indexes of these collections, by namespace, as `listIndexes` gives them, but for the order of
 * their options and the types of their numbers: see `comparableIndex`. Many are read at once where the server permits;
 * what was renamed, dropped or created since it was listed is then asked for by itself.
 */
export async function listIndexesOf(
  cluster: Cluster,
  collections: readonly KnownCollection[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, readonly OrderedDoc[]>> {
  const whole = (await listManyIndexes(cluster, collections, signal)) ?? new Map<string, ListedIndexes>();
  const listed = await mapLimit(
    collections,
    PARALLEL,
    async ({ ns }, inner) =>
      [nsText(ns), whole.get(nsText(ns))?.indexes ?? (await listIndexes(cluster, ns, inner))] as const,
    signal,
  );
  return new Map(listed);
}

/**
 * What the server has of these collections, by namespace, from one listing of all that it holds; collections that it has
 * under no such UUID are left out. Undefined where they are few, or where the server, or the user's privileges, do not
 * permit it: each must then be asked for by itself.
 * Source: mongod 6.0 and later, `$listCatalog` (document_source_list_catalog.cpp): it reads the same entries of the
 * catalog as listIndexes does. It is not in the manual, so whatever it is refused for, there is the other way.
 */
export async function listManyIndexes(
  cluster: Cluster,
  collections: readonly KnownCollection[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ListedIndexes> | undefined> {
  // A mongos asks each shard, and says of each collection as many times what it has as there are shards.
  if (collections.length < MANY || cluster.isSharded || !cluster.isAtLeast(6)) return undefined;
  const databases = [...new Set(collections.map(({ ns }) => ns.db))];
  const pipeline = [
    { $listCatalog: {} },
    { $match: { type: 'collection', ...(databases.length <= MANY ? { db: { $in: databases } } : {}) } },
    { $project: { db: 1, name: 1, uuid: '$md.options.uuid', 'md.indexes.spec': 1, 'md.indexes.ready': 1 } },
  ];
  const command = { aggregate: 1, pipeline, cursor: {} };
  const uuids = new Map(collections.map(({ ns, uuid }) => [nsText(ns), uuid]));
  const found = new Map<string, ListedIndexes>();
  try {
    for (const raw of await readAll(cluster, 'listing the indexes of all collections', 'admin', command, signal)) {
      const entry = decodeOrdered(raw);
      const name = nsText({ db: String(entry.get('db')), coll: String(entry.get('name')) });
      const uuid = entry.get('uuid');
      if (uuid instanceof Binary && uuids.get(name) !== undefined && sameUuid(uuids.get(name), uuid))
        found.set(name, listed(entry));
    }
  } catch (error) {
    if (codeOf(error) === undefined || isTransient(error)) throw error;
    return undefined;
  }
  return found;
}

function listed(entry: OrderedDoc): ListedIndexes {
  const md = entry.get('md');
  const all = (md instanceof Map ? md.get('indexes') : undefined) as readonly OrderedDoc[] | undefined;
  const specs = (all ?? []).map((each) => ({
    spec: each.get('spec') as OrderedDoc,
    isReady: each.get('ready') === true,
  }));
  return {
    indexes: specs.filter(({ spec, isReady }) => isReady && !isOwnIndex(spec)).map(({ spec }) => spec),
    isBuilding: specs.some(({ isReady }) => !isReady),
  };
}
