/** Gives the destination back at the commit what was held back before: uniqueness, expiry, sizes. */
import type { Doc, OrderedDoc } from '../bson/bson.js';
import { findByUuid } from '../catalog/catalog.js';
import { collectionTtl, restoreCommand } from '../catalog/collection-spec.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { type IndexRestoration, indexName, restoration, splitTwins, wholeIndex } from '../catalog/index-spec.js';
import { type Namespace, sameNs } from '../catalog/namespace.js';
import { Code, codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

const PARALLEL = 8;
/** Answers to a collMod whose collection or index is no longer the one the migration made. */
const GONE: readonly number[] = [
  Code.NamespaceNotFound,
  Code.IndexNotFound,
  Code.CommandNotSupportedOnView,
  Code.CollectionUUIDMismatch,
];

/**
 * Gives the destination back, by collMod, what was held back and does not change documents: capped sizes, pre-images,
 * hidden indexes; and prepares every unique index. Repeatable. Errors: UniqueViolation when documents of the source
 * violate an index that is unique there, which only damaged data does; DestinationModified.
 */
export async function restoreBeforeHandover(
  destination: WritableCluster,
  collections: CollectionMap,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<void> {
  await mapLimit(
    collections.live(),
    PARALLEL,
    async (each, inner) => {
      try {
        await restoreOne(destination, each, isBuilt, inner);
      } catch (error) {
        const code = codeOf(error);
        if (code === undefined || !GONE.includes(code)) throw error;
        const text = `someone else changed ${each.name} on the destination during the migration`;
        throw new AppError('DestinationModified', `${text}: ${safeText(error)}`, { cause: error });
      }
    },
    signal,
  );
}

async function restoreOne(
  destination: WritableCluster,
  collection: MigratedCollection,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const fields = restoreCommand(collection.options);
  if (Object.keys(fields).length > 0) await collMod(destination, collection, fields, signal);
  for (const spec of splitTwins(collection.indexes.filter(isBuilt)).built) {
    const index = restoration(spec);
    if (index.hidden) await collMod(destination, collection, { index: { name: index.name, hidden: true } }, signal);
    if (index.unique || index.prepareUnique)
      await collMod(destination, collection, { index: { name: index.name, prepareUnique: true } }, signal);
    if (index.unique) await checkUnique(destination, collection, index, signal);
  }
}

async function checkUnique(
  destination: WritableCluster,
  collection: MigratedCollection,
  index: IndexRestoration,
  signal: AbortSignal,
): Promise<void> {
  try {
    await collMod(destination, collection, { index: { name: index.name, unique: true }, dryRun: true }, signal);
  } catch (error) {
    if (codeOf(error) !== Code.CannotConvertIndexToUnique) throw error;
    throw new AppError(
      'UniqueViolation',
      `documents of ${collection.name} violate the unique index ${index.name}; remove the duplicates on the source and start a new migration`,
      { cause: error },
    );
  }
}

/**
 * What may only happen when applications may write: expiry (its deletes are theirs) and uniqueness; and after that the
 * indexes that could not be built beside one that was not unique yet. The owner may have
 * dropped or replaced an index or collection by then; that is no error. One that was renamed gets it under its new name. Nothing else that the server refuses fails the
 * migration either, since the data is its owner's by now: resolves with one line for each.
 */
export async function restoreAfterHandover(
  destination: WritableCluster,
  collections: CollectionMap,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const refused: string[] = [];
  await mapLimit(
    collections.live(),
    PARALLEL,
    async (collection, inner) => {
      const ttl = collectionTtl(collection.options);
      const tell = (what: string, refusal: string | undefined): void => {
        if (refusal !== undefined) refused.push(`${what} ${refusal}`);
      };
      const change = async (what: string, fields: Doc): Promise<void> =>
        tell(what, await tryCollMod(destination, collection, fields, inner));
      const { built, twins } = splitTwins(collection.indexes.filter(isBuilt));
      if (ttl !== undefined) await change(collection.name, { expireAfterSeconds: ttl });
      for (const { name, unique, expireAfterSeconds } of built.map(restoration)) {
        const what = `index ${collection.name} ${name}`;
        if (expireAfterSeconds !== undefined) await change(what, { index: { name, expireAfterSeconds } });
        if (unique) await change(what, { index: { name, unique: true } });
      }
      for (const { spec } of twins)
        tell(`index ${collection.name} ${indexName(spec)}`, await tryBuild(destination, collection, spec, inner));
    },
    signal,
  );
  return refused;
}

/** Resolves with the server's reason, if the server refused. */
function tryCollMod(
  destination: WritableCluster,
  collection: MigratedCollection,
  fields: Doc,
  signal: AbortSignal,
): Promise<string | undefined> {
  return refusalOf(() => changeByUuid(destination, collection, (ns) => ({ collMod: ns.coll, ...fields }), signal));
}

/** Builds the twin of a unique index. Resolves as `tryCollMod`. */
function tryBuild(
  destination: WritableCluster,
  collection: MigratedCollection,
  spec: OrderedDoc,
  signal: AbortSignal,
): Promise<string | undefined> {
  const more = { indexes: [wholeIndex(spec, collection.options)], commitQuorum: 'majority' };
  return refusalOf(() => changeByUuid(destination, collection, (ns) => ({ createIndexes: ns.coll, ...more }), signal));
}

async function refusalOf(change: () => Promise<void>): Promise<string | undefined> {
  try {
    await change();
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || isTransient(error)) throw error;
    return code === Code.CannotConvertIndexToUnique
      ? 'could not be made unique, because documents written meanwhile violate it; it keeps prepareUnique. Remove the duplicates and restart mongoferry'
      : `could not get back the options that were held back during the migration: ${safeText(error)} (code ${code}). Remove the cause and restart mongoferry`;
  }
}

/** Changes the collection wherever it is by now; nothing when it, or the index, is gone. */
async function changeByUuid(
  destination: WritableCluster,
  collection: MigratedCollection,
  commandAt: (ns: Namespace) => Doc,
  signal: AbortSignal,
): Promise<void> {
  const { destinationUuid } = collection;
  for (let { ns } = collection; ; ) {
    const command = { ...commandAt(ns), collectionUUID: destinationUuid };
    if (await changeCatalog(destination, ns.db, command, signal, GONE)) return;
    const found =
      destinationUuid === undefined ? undefined : await findByUuid(destination, destinationUuid, ns.db, signal);
    if (found === undefined || sameNs(found, ns)) return;
    ns = found;
  }
}

async function collMod(
  destination: WritableCluster,
  { ns, destinationUuid }: MigratedCollection,
  fields: Doc,
  signal: AbortSignal,
): Promise<void> {
  const command = { collMod: ns.coll, collectionUUID: destinationUuid, ...fields };
  await changeCatalog(destination, ns.db, command, signal);
}
