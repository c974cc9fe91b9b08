/** Reads the catalog of a cluster: databases, collections, views and indexes. */
import { Binary, type Doc, decodeOrdered, decodePlain, type OrderedDoc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { Code, codeOf } from '../cluster/errors.js';
import { mapLimit } from '../lib/limit.js';
import { isIgnoredCollection, isIgnoredDatabase, type Namespace, nsText } from './namespace.js';
import { readShardKeys, type ShardKey, type ShardKeys } from './shard-keys.js';

/** Databases whose collections are listed at one time. */
const PARALLEL = 8;

/** A collection, view or time-series collection as the catalog has it. */
export interface CatalogEntry {
  readonly ns: Namespace;
  readonly type: 'collection' | 'view' | 'timeseries';
  /** Views have none. */
  readonly uuid: Binary | undefined;
  /** As listCollections gives them, order and number types kept. */
  readonly options: OrderedDoc;
  /** Undefined: the collection is not sharded. */
  readonly sharding: ShardKey | undefined;
}

/** The databases that are migrated: all but the server's own and migration tools'. */
export async function listDatabases(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  return (await listDatabaseNames(cluster, signal)).filter((name) => !isIgnoredDatabase(name));
}

/** The names of all databases. */
export async function listDatabaseNames(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  const reply = await cluster.read('listing databases', 'admin', { listDatabases: 1, nameOnly: true }, signal);
  return (reply['databases'] as { name: string }[]).map((each) => each.name);
}

/** The collections and views of a database, without the server's own. */
export async function listCollections(cluster: Cluster, db: string, signal: AbortSignal): Promise<CatalogEntry[]> {
  const documents = await readAll(
    cluster,
    `listing collections of ${db}`,
    db,
    { listCollections: 1, cursor: {} },
    signal,
  );
  const keys = await readShardKeys(cluster, { db }, signal);
  return documents
    .map((raw) => toEntry(db, decodeOrdered(raw), keys))
    .filter((entry) => !isIgnoredCollection(entry.ns.coll));
}

/** Those of several databases. */
export async function listCollectionsOf(
  cluster: Cluster,
  databases: readonly string[],
  signal: AbortSignal,
): Promise<CatalogEntry[]> {
  return (await mapLimit(databases, PARALLEL, (db, inner) => listCollections(cluster, db, inner), signal)).flat();
}

/** The names of all that a database has, the server's own collections among them. */
export async function listNames(cluster: Cluster, db: string, signal: AbortSignal): Promise<string[]> {
  const command = { listCollections: 1, nameOnly: true, cursor: {} };
  const documents = await readAll(cluster, `listing names of ${db}`, db, command, signal);
  return documents.map((raw) => String(decodePlain(raw)['name']));
}

/** One namespace of the catalog, or undefined. */
export async function findCollection(
  cluster: Cluster,
  ns: Namespace,
  signal: AbortSignal,
): Promise<CatalogEntry | undefined> {
  const command = { listCollections: 1, filter: { name: ns.coll }, cursor: {} };
  const documents = await readAll(cluster, `looking up ${nsText(ns)}`, ns.db, command, signal);
  const keys = await readShardKeys(cluster, ns, signal);
  return documents.map((raw) => toEntry(ns.db, decodeOrdered(raw), keys))[0];
}

/** The namespace that a majority's catalog has for a collection in its last known database; undefined when it is gone. */
export async function findByUuid(
  cluster: Cluster,
  uuid: Binary,
  db: string,
  signal: AbortSignal,
): Promise<Namespace | undefined> {
  return (await confirmed(cluster, signal, () => lookUp(cluster, uuid, db, signal))).value;
}

async function lookUp(cluster: Cluster, uuid: Binary, db: string, signal: AbortSignal): Promise<Namespace | undefined> {
  const command = { listCollections: 1, filter: { 'info.uuid': uuid }, cursor: {} };
  const documents = await readAll(cluster, `looking up a collection of ${db}`, db, command, signal);
  const name = documents.map((raw) => decodePlain(raw)['name'])[0];
  return typeof name === 'string' ? { db, coll: name } : undefined;
}

/**
 * The secondary indexes of a collection, finished ones only, as the command listIndexes gives them; [] when the collection
 * is gone, or a view has its name by now: whoever listed the collection learns of that from the next listing, or from an event.
 * The `_id` index and the index of a clustered collection belong to the collection and are left out.
 */
export async function listIndexes(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<OrderedDoc[]> {
  return (await listIndexesAndBuilds(cluster, ns, signal)).indexes;
}

/**
 * As `listIndexes`, and the indexes that are being built, by build: only all of one together can be dropped. Before 5.0
 * builds are not told of.
 */
export async function listIndexesAndBuilds(
  cluster: Cluster,
  ns: Namespace,
  signal: AbortSignal,
): Promise<{ readonly indexes: OrderedDoc[]; readonly builds: OrderedDoc[][] }> {
  const indexes: OrderedDoc[] = [];
  const builds = new Map<string, OrderedDoc[]>();
  for (const entry of await listAllIndexes(cluster, ns, signal)) {
    const build = entry.get('buildUUID');
    if (build === undefined) {
      if (!isOwnIndex(entry)) indexes.push(entry);
      continue;
    }
    const spec = entry.get('spec');
    const id = String(build);
    builds.set(id, [...(builds.get(id) ?? []), spec instanceof Map ? spec : entry]);
  }
  return { indexes, builds: [...builds.values()] };
}

async function listAllIndexes(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<OrderedDoc[]> {
  // Before 5.0 the option is unknown; unfinished builds are not listed there at all.
  const unfinished = cluster.isAtLeast(5) ? { includeBuildUUIDs: true } : {};
  const command = { listIndexes: ns.coll, cursor: {}, ...unfinished };
  try {
    const documents = await readAll(cluster, `listing indexes of ${nsText(ns)}`, ns.db, command, signal);
    return documents.map(decodeOrdered);
  } catch (error) {
    const code = codeOf(error);
    if (code === Code.NamespaceNotFound || code === Code.CommandNotSupportedOnView) return [];
    throw error;
  }
}

/** Whether an index belongs to the collection itself: that of `_id`, or of a clustered collection. */
export function isOwnIndex(spec: OrderedDoc): boolean {
  return spec.get('name') === '_id_' || spec.get('clustered') === true;
}

function toEntry(db: string, doc: OrderedDoc, keys: ShardKeys): CatalogEntry {
  const info = doc.get('info') as OrderedDoc | undefined;
  const uuid = info?.get('uuid');
  const ns = { db, coll: String(doc.get('name')) };
  return {
    ns,
    sharding: keys.get(nsText(ns)),
    type: doc.get('type') as CatalogEntry['type'],
    uuid: uuid instanceof Binary ? uuid : undefined,
    options: (doc.get('options') as OrderedDoc | undefined) ?? new Map(),
  };
}

/** All documents of a catalog cursor, raw. Catalogs fit in memory: 50,000 entries are some 50 MB. */
export async function readAll(
  cluster: Cluster,
  what: string,
  db: string,
  command: Doc,
  signal: AbortSignal,
): Promise<Buffer[]> {
  return cluster.attempt(what, signal, async () => {
    const session = cluster.startSession();
    try {
      const documents: Buffer[] = [];
      let reply = await cluster.command(db, command, { session, signal, raw: { firstBatch: true } });
      for (;;) {
        const cursor = reply['cursor'] as {
          id: { isZero(): boolean };
          ns: string;
          firstBatch?: Buffer[];
          nextBatch?: Buffer[];
        };
        documents.push(...(cursor.firstBatch ?? cursor.nextBatch ?? []));
        if (cursor.id.isZero()) return documents;
        const collection = cursor.ns.slice(cursor.ns.indexOf('.') + 1);
        const more = { getMore: cursor.id, collection };
        reply = await cluster.command(db, more, { session, signal, raw: { nextBatch: true } });
      }
    } finally {
      await session.endSession();
    }
  });
}
