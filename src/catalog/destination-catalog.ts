/** Changes the destination's catalog so that a repeated or late command does no harm. */
import type { Binary, Doc, OrderedDoc } from '../bson/bson.js';
import { confirmed } from '../cluster/confirmed.js';
import { Code, codeOf, isTransient, safeText, statementError, TransientError } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { type CatalogEntry, findCollection, listIndexes } from './catalog.js';
import { createCommand, isCapped, sameUuid } from './collection-spec.js';
import { freeingName } from './empty-database.js';
import { builtText } from './index-spec.js';
import { type Namespace, nsText } from './namespace.js';
import { supportsKey } from './shard-key-index.js';

const INCOMPATIBLE_COLLATION_VERSION = 161;

/**
 * Runs one catalog command on the destination with majority write concern, retried while errors are transient. Codes in
 * `accepted` mean that the wanted state is there already: resolves with false then, else with true. Such an answer may
 * come from a primary whose state no majority has, and says nothing of that: so it is taken only once a majority has it.
 */
export async function changeCatalog(
  cluster: WritableCluster,
  db: string,
  command: Doc,
  signal: AbortSignal,
  accepted: readonly number[] = [],
): Promise<boolean> {
  const what = `${Object.keys(command)[0]} of ${db}.${String(Object.values(command)[0])}`;
  const change = (): Promise<boolean> =>
    cluster.attempt(what, signal, async () => {
      try {
        await cluster.write(db, command, { signal });
        return true;
      } catch (error) {
        const code = codeOf(error);
        if (code !== undefined && accepted.includes(code)) return false;
        throw whileBuilding(error, what);
      }
    });
  return (await change()) || (await confirmed(cluster, signal, change)).value;
}

/** An index build of an earlier process goes on on the server: what it stands in the way of is tried again. */
function whileBuilding(error: unknown, what: string): unknown {
  if (codeOf(error) !== Code.BackgroundOperationInProgress) return error;
  return new TransientError(`${what} waits for an index build on the server`, { cause: error });
}

/** A collection or view to create. */
export interface NewNamespace {
  readonly ns: Namespace;
  readonly options: OrderedDoc;
  /** Others may create something beside it at any time. */
  readonly sharesDestination: boolean;
  /** The key that it is, or is going to be, sharded by; undefined: it is not. */
  readonly shardKey?: OrderedDoc | undefined;
  /** Indexes that are built at once, as they are sent. Default none. */
  readonly indexes?: readonly OrderedDoc[];
}

/**
 * Sends `create`; false when the name is taken. A collation version of other server libraries is left out. An empty
 * database whose name differs in case only is dropped for it.
 */
export async function sendCreate(
  cluster: WritableCluster,
  wanted: NewNamespace,
  signal: AbortSignal,
): Promise<boolean> {
  const { ns, options } = wanted;
  if (isCapped(options) && options.has('clusteredIndex')) return createClusteredCapped(cluster, wanted, signal);
  const create = (full: OrderedDoc): Promise<boolean> =>
    freeingName(cluster, wanted, signal, () =>
      changeCatalog(cluster, ns.db, createCommand(ns.coll, full), signal, [Code.NamespaceExists]),
    );
  try {
    return await create(options);
  } catch (error) {
    const collation = options.get('collation');
    if (codeOf(error) !== INCOMPATIBLE_COLLATION_VERSION || !(collation instanceof Map)) throw error;
    return create(new Map(options).set('collation', new Map([...collation].filter(([name]) => name !== 'version'))));
  }
}

/**
 * As `sendCreate`, with indexes that are built while the collection is empty: that takes no scan and no vote of the
 * members, a fraction of what a build takes later. A collection without options is made by createIndexes itself. An index
 * that is refused is left for the index builder, which tells why.
 */
export async function sendCreateWithIndexes(
  cluster: WritableCluster,
  wanted: NewNamespace & { readonly indexes: readonly OrderedDoc[] },
  signal: AbortSignal,
): Promise<boolean> {
  const { ns, options, indexes } = wanted;
  const build = async (): Promise<Doc> =>
    cluster.attempt(`createIndexes of ${nsText(ns)}`, signal, () =>
      cluster.write(ns.db, { createIndexes: ns.coll, indexes }, { signal }),
    );
  const isPlain = Object.keys(createCommand(ns.coll, options)).length === 1;
  const created = isPlain ? false : await sendCreate(cluster, wanted, signal);
  try {
    const reply = await freeingName(cluster, wanted, signal, build);
    return created || reply['createdCollectionAutomatically'] === true;
  } catch (error) {
    if (codeOf(error) === undefined || isTransient(error)) throw error;
    return isPlain ? sendCreate(cluster, wanted, signal) : created;
  }
}

/**
 * convertToCapped leaves a clustered collection that is capped, too, which `create` refuses (6127800, tried on 6.0.5):
 * it is made the same way here. Only an empty collection is converted, so one of somebody else's stays as it is.
 */
async function createClusteredCapped(
  cluster: WritableCluster,
  wanted: NewNamespace,
  signal: AbortSignal,
): Promise<boolean> {
  const { ns, options } = wanted;
  const uncapped = new Map([...options].filter(([name]) => name !== 'capped' && name !== 'size' && name !== 'max'));
  const created = await sendCreate(cluster, { ...wanted, options: uncapped }, signal);
  const found = await findCollection(cluster, ns, signal);
  if (found !== undefined && !isCapped(found.options) && (await isEmpty(cluster, ns, signal))) {
    const { size } = createCommand(ns.coll, options);
    await changeCatalog(cluster, ns.db, { convertToCapped: ns.coll, size }, signal);
  }
  return created;
}

/**
 * Creates a collection and returns its UUID. When the name is taken, the collection there is taken for ours if it is as
 * a create leaves it, empty and without indexes (a create whose answer was lost); otherwise rejects with
 * DestinationModified.
 */
export async function createCollection(
  cluster: WritableCluster,
  wanted: NewNamespace,
  signal: AbortSignal,
): Promise<Binary> {
  const { ns } = wanted;
  const created = await sendCreate(cluster, wanted, signal);
  const look = (): Promise<CatalogEntry | undefined> => findCollection(cluster, ns, signal);
  // A primary that has been replaced may hold another one of that name, from a try that is rolled back.
  const { value: found } = await confirmed(cluster, signal, look);
  if (found?.uuid === undefined) throw modified(ns, 'was dropped by someone else');
  if (!created && !(await isUntouched(cluster, found, wanted, signal)))
    throw modified(ns, 'was created by someone else');
  return found.uuid;
}

/** Drops the collection of that UUID, if it is still there. */
export async function dropCollection(
  cluster: WritableCluster,
  ns: Namespace,
  uuid: Binary,
  signal: AbortSignal,
): Promise<void> {
  await changeCatalog(cluster, ns.db, { drop: ns.coll, collectionUUID: uuid }, signal, [
    Code.NamespaceNotFound,
    Code.CollectionUUIDMismatch,
  ]);
}

/** Drops a view, if it is still there. */
export async function dropView(cluster: WritableCluster, ns: Namespace, signal: AbortSignal): Promise<void> {
  await changeCatalog(cluster, ns.db, { drop: ns.coll }, signal, [Code.NamespaceNotFound]);
}

/**
 * Renames the collection of that UUID; does nothing when it has the new name already. `target` is the UUID that is
 * dropped by it, if any. Errors: DestinationModified when neither name holds it, or the target is another collection.
 */
export async function renameCollection(
  cluster: WritableCluster,
  rename: { from: Namespace; to: Namespace; uuid: Binary; target: Binary | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { from, to, uuid, target } = rename;
  const look = async (): Promise<{ atTarget: CatalogEntry | undefined; isAtSource: boolean }> => ({
    atTarget: await findCollection(cluster, to, signal),
    isAtSource: sameUuid((await findCollection(cluster, from, signal))?.uuid, uuid),
  });
  let { atTarget, isAtSource } = await look();
  const isOthers = (): boolean => atTarget !== undefined && !sameUuid(atTarget.uuid, target);
  // A rename that is done, or what somebody else has done, may be so on a primary alone.
  if (!isAtSource || isOthers()) ({ atTarget, isAtSource } = (await confirmed(cluster, signal, look)).value);
  if (sameUuid(atTarget?.uuid, uuid)) return;
  if (!isAtSource) throw modified(from, 'was dropped or renamed by someone else');
  if (isOthers()) throw modified(to, 'was created by someone else');
  const command = { renameCollection: nsText(from), to: nsText(to), dropTarget: atTarget !== undefined };
  const what = `renaming ${nsText(from)}`;
  await cluster.attempt(what, signal, async () => {
    try {
      await cluster.write('admin', command, { signal });
    } catch (error) {
      if (codeOf(error) !== Code.NamespaceNotFound) throw whileBuilding(error, what);
      if (!sameUuid((await confirmed(cluster, signal, look)).value.atTarget?.uuid, uuid)) throw error;
    }
  });
}

/** Removes every document of a collection, capped ones too (6.0 and later). */
export async function emptyCollection(
  cluster: WritableCluster,
  ns: Namespace,
  uuid: Binary,
  signal: AbortSignal,
): Promise<void> {
  const command = { delete: ns.coll, deletes: [{ q: {}, limit: 0 }], collectionUUID: uuid };
  await cluster.attempt(`emptying ${nsText(ns)}`, signal, async () => {
    const reply = await cluster.write(ns.db, command, { signal });
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    if (error !== undefined) throw refusedDelete(ns, error);
  });
}

function refusedDelete(ns: Namespace, error: Doc): Error {
  const [code, text] = [Number(error['code']), safeText(String(error['errmsg']))];
  if (code === Code.CollectionUUIDMismatch) return modified(ns, 'was dropped, renamed or recreated by someone else');
  return statementError(`the destination refuses to empty ${nsText(ns)}`, { code, text });
}

async function isUntouched(
  cluster: WritableCluster,
  entry: CatalogEntry,
  { options, shardKey, indexes = [] }: NewNamespace,
  signal: AbortSignal,
): Promise<boolean> {
  if (isCapped(entry.options) !== isCapped(options)) return false;
  if (!(await isEmpty(cluster, entry.ns, signal))) return false;
  // The index of a shard key comes before the collection is sharded.
  const wanted = new Set(indexes.map(builtText));
  const found = await listIndexes(cluster, entry.ns, signal);
  return found.every((spec) => wanted.has(builtText(spec)) || (shardKey !== undefined && supportsKey(shardKey, spec)));
}

async function isEmpty(cluster: WritableCluster, ns: Namespace, signal: AbortSignal): Promise<boolean> {
  const reply = await cluster.read(
    `looking into ${nsText(ns)}`,
    ns.db,
    { find: ns.coll, limit: 1, projection: { _id: 1 } },
    signal,
  );
  return (reply['cursor'] as { firstBatch: unknown[] }).firstBatch.length === 0;
}

function modified(ns: Namespace, what: string): AppError {
  return new AppError(
    'DestinationModified',
    `${nsText(ns)} on the destination ${what} during the migration. Only the migration may change the destination until canWrite is true`,
  );
}
