/** Reads the source's catalog as of one cluster time, although it may change while it is read. */
import { canonicalText, decodePlain, type OrderedDoc, type Timestamp } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import {
  type CatalogEntry,
  findCollection,
  listCollectionsOf,
  listDatabases,
  listIndexes,
} from '../catalog/catalog.js';
import { listIndexesOf } from '../catalog/index-listing.js';
import { isIgnored, type Namespace, nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { TransientError } from '../cluster/errors.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import { readChanges } from '../documents/change-stream.js';
import type { Logger } from '../lib/logger.js';

/** A namespace with its secondary indexes. */
export interface ListedNamespace extends CatalogEntry {
  readonly indexes: readonly OrderedDoc[];
}

/** A catalog that was exactly so at `time`; changes after it come by the change stream. */
export interface StableCatalog {
  readonly time: Timestamp;
  readonly namespaces: readonly ListedNamespace[];
}

const MAX_ROUNDS = 1000;
const CRUD = ['insert', 'update', 'replace', 'delete'];

/**
 * Reads the source's whole catalog, as far as it is migrated, as of one cluster time, from what a majority has. A listing
 * takes a while and is of no single moment, so after it the DDL events since it began are read and what they touch is
 * listed again, until a round has none: then every listing still holds, and the time of the round's closing note is the
 * catalog's.
 */
export async function readStableCatalog(
  source: Cluster,
  scope: Scope,
  logger: Logger,
  signal: AbortSignal,
): Promise<StableCatalog> {
  const context = { source, scope, logger };
  const read = source.isAtLeast(6) ? readInRounds : readTwice;
  return (await confirmed(source, signal, () => read(context, signal))).value;
}

interface CatalogContext {
  readonly source: Cluster;
  readonly scope: Scope;
  readonly logger: Logger;
}

async function readInRounds(context: CatalogContext, signal: AbortSignal): Promise<StableCatalog> {
  const { source, scope, logger } = context;
  let since = await writeOplogNote(source, 'catalog', signal);
  const listed = new Map<string, ListedNamespace>();
  for (const each of await listAll(source, scope, signal)) listed.set(nsText(each.ns), each);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const until = await writeOplogNote(source, 'catalog', signal);
    const touched = await readTouched(context, since, until, signal);
    const changed = touched.databases.length + touched.namespaces.length;
    if (changed === 0) return { time: until, namespaces: [...listed.values()] };
    logger.debug('The catalog changed while it was read; listing what changed again', { round, changed });
    since = until;
    for (const db of touched.databases) await listDatabaseAgain(context, db, listed, signal);
    for (const ns of touched.namespaces) await listAgain(source, ns, listed, signal);
  }
  throw neverStable();
}

/**
 * As above, for servers before 6.0, whose events tell of few catalog changes: the catalog is listed until two listings
 * in a row agree. The note between them is its time: what was changed and changed back around it leaves nothing to
 * follow, or a drop or rename event after it, which ends the migration.
 */
async function readTwice({ source, scope, logger }: CatalogContext, signal: AbortSignal): Promise<StableCatalog> {
  let earlier = textOf(await listAll(source, scope, signal));
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const time = await writeOplogNote(source, 'catalog', signal);
    const namespaces = await listAll(source, scope, signal);
    const text = textOf(namespaces);
    if (text === earlier) return { time, namespaces };
    logger.debug('The catalog changed while it was read; listing it again', { round });
    earlier = text;
  }
  throw neverStable();
}

function textOf(namespaces: readonly ListedNamespace[]): string {
  return namespaces
    .map(({ ns, type, uuid, options, indexes }) =>
      JSON.stringify([
        nsText(ns),
        type,
        uuid?.toString('hex'),
        canonicalText(options),
        indexes.map(canonicalText).sort(),
      ]),
    )
    .sort()
    .join();
}

function neverStable(): TransientError {
  return new TransientError(
    `the catalog of the source changed during each of ${MAX_ROUNDS} listings in a row; start the migration when fewer collections are created and dropped`,
  );
}

async function listAll(source: Cluster, scope: Scope, signal: AbortSignal): Promise<ListedNamespace[]> {
  return listAllOf(source, scope, await listDatabases(source, signal), signal);
}

async function listAllOf(
  source: Cluster,
  scope: Scope,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ListedNamespace[]> {
  const databases = await scope.databases(names, signal);
  const entries = await scope.select(await listCollectionsOf(source, databases, signal), signal);
  const indexes = await listIndexesOf(source, entries.filter(isCollection), signal);
  return entries.map((entry) => ({ ...entry, indexes: indexes.get(nsText(entry.ns)) ?? [] }));
}

async function withIndexes(source: Cluster, entry: CatalogEntry, signal: AbortSignal): Promise<ListedNamespace> {
  return { ...entry, indexes: isCollection(entry) ? await listIndexes(source, entry.ns, signal) : [] };
}

function isCollection({ type }: CatalogEntry): boolean {
  return type === 'collection';
}

async function listAgain(
  source: Cluster,
  ns: Namespace,
  listed: Map<string, ListedNamespace>,
  signal: AbortSignal,
): Promise<void> {
  const entry = await findCollection(source, ns, signal);
  if (entry === undefined) listed.delete(nsText(ns));
  else listed.set(nsText(ns), await withIndexes(source, entry, signal));
}

/** Lists a whole database again: no other event names the views that a dropDatabase has dropped. */
async function listDatabaseAgain(
  { source, scope }: CatalogContext,
  db: string,
  listed: Map<string, ListedNamespace>,
  signal: AbortSignal,
): Promise<void> {
  for (const [name, { ns }] of listed) if (ns.db === db) listed.delete(name);
  for (const each of await listAllOf(source, scope, [db], signal)) listed.set(nsText(each.ns), each);
}

interface Touched {
  /** Those that were dropped. */
  readonly databases: readonly string[];
  readonly namespaces: readonly Namespace[];
}

/** What the DDL events between two notes are about, as far as it is migrated. */
async function readTouched(
  { source, scope, logger }: CatalogContext,
  since: Timestamp,
  until: Timestamp,
  signal: AbortSignal,
): Promise<Touched> {
  const namespaces = new Map<string, Namespace>();
  const databases = new Set<string>();
  const add = (ns: Partial<Namespace> | undefined): void => {
    if (ns?.db === undefined || isIgnored({ db: ns.db, coll: ns.coll ?? '' })) return;
    if (ns.coll === undefined) databases.add(ns.db);
    else namespaces.set(nsText({ db: ns.db, coll: ns.coll }), { db: ns.db, coll: ns.coll });
  };
  const stages = [{ $match: { operationType: { $nin: CRUD } } }];
  const stream = readChanges(
    source,
    { start: Position.startAt(since), rawDeltas: false, logger, awaitMs: 100, stages },
    signal,
  );
  for await (const batch of stream) {
    for (const raw of batch.events) {
      const event = decodePlain(raw);
      add(event['ns'] as Partial<Namespace> | undefined);
      add(event['to'] as Partial<Namespace> | undefined);
    }
    if (batch.position.time.greaterThanOrEqual(until)) break;
  }
  const followed = await scope.select(
    [...namespaces.values()].map((ns) => ({ ns })),
    signal,
  );
  return { databases: await scope.databases([...databases], signal), namespaces: followed.map((entry) => entry.ns) };
}
