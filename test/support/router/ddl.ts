/** Carries out what changes the catalog: most of it by a primary shard, which coordinates the others. */
import { CONFIG, MAJORITY, type ShardAnswer } from './backend.js';
import { collectionOf, databaseOf, isConfigDatabase } from './catalog.js';
import { isStale, namespaceNotFound, RouterError, ShardError } from './errors.js';
import { type Doc, doc, type Fields, isTrue, numberOf } from './raw-values.js';
import { refused } from './refusals.js';
import { answered, okay, type Request } from './request.js';
import { UNSHARDED } from './routing-table.js';
import { rawAnswers } from './scatter.js';

/** Errors: Unauthorized (13) for a command that runs on the database `admin` only. */
export function requireAdmin({ command }: Request): void {
  if (command.db !== 'admin') throw refused('adminOnly', { name: command.name });
}

/** The namespace that an administrative command is about. Errors: InvalidNamespace (73); {@link requireAdmin}'s. */
export function adminNs(request: Request): string {
  requireAdmin(request);
  const ns = request.command.collection;
  if (!ns.includes('.')) throw new RouterError(73, 'InvalidNamespace', `Invalid namespace specified '${ns}'`);
  return ns;
}

/** What {@link onPrimary} needs to know. */
interface PrimaryCommand {
  readonly db: string;
  /** Where the shard expects it; default: the database itself. */
  readonly runOn?: string;
  readonly body: Doc;
}

/** Has a database's primary shard do something. Errors: NamespaceNotFound (26); what the shard says. */
export async function onPrimary(request: Request, { db, runOn = db, body }: PrimaryCommand): Promise<Fields> {
  return await request.retryStale(`${db}.$cmd`, async () => {
    const entry = await request.catalog.database(db);
    if (entry === undefined) throw namespaceNotFound(`database ${db} not found`);
    const versioned = doc(body, { databaseVersion: entry.version, writeConcern: MAJORITY });
    return await request.callOk(entry.primary, runOn, versioned);
  });
}

/** The handler of enableSharding. */
export async function enableSharding(request: Request): Promise<Doc> {
  requireAdmin(request);
  const { command, catalog } = request;
  return okay({}, await catalog.createDatabase(command.collection, command.text('primaryShard')));
}

/** The handler of shardCollection. */
export async function shardCollection(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const { command, catalog } = request;
  const key = command.get('key');
  if (key === undefined) {
    const message = "BSON field 'shardCollection.key' is missing but a required field";
    throw new RouterError(40414, 'Location40414', message);
  }
  const db = databaseOf(ns);
  if ((await catalog.database(db)) === undefined) await catalog.createDatabase(db);
  const options = command.some(
    'unique',
    'numInitialChunks',
    'presplitHashedZones',
    'collation',
    'timeseries',
    'collectionUUID',
    'implicitlyCreateIndex',
    'enforceUniquenessCheck',
  );
  const body = doc({ _shardsvrCreateCollection: collectionOf(ns), shardKey: key }, options);
  const answer = await onPrimary(request, { db, body });
  catalog.forget(ns);
  return okay({ collectionsharded: ns }, answer);
}

/** The handler of refineCollectionShardKey. */
export async function refineCollectionShardKey(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const body = doc({ _shardsvrRefineCollectionShardKey: collectionOf(ns), newShardKey: request.command.get('key') });
  return await changed(request, ns, await onPrimary(request, { db: databaseOf(ns), body }));
}

/** The handler of reshardCollection. */
export async function reshardCollection(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const names = ['key', 'unique', 'collation', 'zones', 'numInitialChunks', '_presetReshardedChunks'];
  const body = doc({ _shardsvrReshardCollection: ns }, request.command.some(...names));
  return await changed(request, ns, await onPrimary(request, { db: databaseOf(ns), runOn: 'admin', body }));
}

/** The handler of abortReshardCollection and commitReshardCollection. */
export async function endReshard(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const isAbort = request.command.name === 'abortReshardCollection';
  const body = doc({ [isAbort ? '_configsvrAbortReshardCollection' : '_configsvrCommitReshardCollection']: ns });
  const answer = await request.callOk(CONFIG, 'admin', doc(body, { writeConcern: MAJORITY }));
  return await changed(request, ns, answer);
}

/** The handler of movePrimary. */
export async function movePrimary(request: Request): Promise<Doc> {
  requireAdmin(request);
  const db = request.command.collection;
  const body = doc({ _shardsvrMovePrimary: db, to: request.command.get('to') });
  const answer = await onPrimary(request, { db, runOn: 'admin', body });
  request.catalog.forgetDatabase(db);
  return okay({}, answer);
}

/** The handler of setAllowMigrations. */
export async function setAllowMigrations(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const allowMigrations = request.command.get('allowMigrations');
  const body = doc({ _shardsvrSetAllowMigrations: collectionOf(ns), allowMigrations });
  return await changed(request, ns, await onPrimary(request, { db: databaseOf(ns), body }));
}

async function changed(request: Request, ns: string, answer: Fields): Promise<Doc> {
  request.catalog.forget(ns);
  return okay({}, answer);
}

/** The handler of create, for collections and views. */
export async function create(request: Request): Promise<Doc> {
  const { command, catalog, transaction } = request;
  const { db, ns } = command;
  if (db === 'local') throw refused('localDatabase', { db });
  if (isConfigDatabase(db)) {
    const body = doc(command.body(), request.envelope(CONFIG, 'write'));
    return okay({}, await request.callOk(CONFIG, db, body));
  }
  if ((await catalog.database(db)) === undefined) await catalog.createDatabase(db);
  const answer = await request.retryStale(ns, async () => {
    const entry = await catalog.database(db);
    if (entry === undefined) throw namespaceNotFound(`database ${db} not found`);
    const version = { databaseVersion: entry.version, shardVersion: UNSHARDED };
    const body = doc(command.body(), version, request.envelope(entry.primary, 'write'));
    const created = await request.callOk(entry.primary, db, body);
    transaction?.wrote(entry.primary);
    return created;
  });
  return await changed(request, ns, answer);
}

/** The handler of drop. */
export async function drop(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, ns, collection } = command;
  if (isConfigDatabase(db)) return await dropOfConfig(request);
  if ((await catalog.database(db)) === undefined) throw namespaceNotFound();
  const body = doc({ _shardsvrDropCollection: collection }, command.some('collectionUUID'));
  const answer = await onPrimary(request, { db, body });
  catalog.forget(ns);
  return okay({ nIndexesWas: answer.get('nIndexesWas'), ns: answer.get('ns') }, answer);
}

/** A mongos drops nothing of its own databases' sharding state; other collections of `admin` are the config servers'. */
async function dropOfConfig(request: Request): Promise<Doc> {
  const { command } = request;
  if (command.db === 'config') throw refused('dropOfConfig', { db: command.db });
  const body = doc(command.body(), request.envelope(CONFIG, 'write'));
  const answer = await request.callOk(CONFIG, command.db, body);
  return answered(answer, answer);
}

/** The handler of dropDatabase. */
export async function dropDatabase(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db } = command;
  if (isConfigDatabase(db)) throw refused('dropOfConfig', { db });
  if ((await catalog.database(db)) === undefined) return okay({ info: 'database does not exist' });
  const answer = await onPrimary(request, { db, body: doc({ _shardsvrDropDatabase: 1 }) });
  catalog.forgetDatabase(db);
  return okay({ dropped: db }, answer);
}

/** The handler of renameCollection. */
export async function renameCollection(request: Request): Promise<Doc> {
  const from = adminNs(request);
  const { command, catalog } = request;
  const to = command.text('to') ?? '';
  const [db, target] = [databaseOf(from), databaseOf(to)];
  const entry = await catalog.database(db);
  if (entry === undefined) throw namespaceNotFound(`database ${db} not found`);
  if (target !== db) {
    const other = await catalog.database(target);
    if (other === undefined) await catalog.createDatabase(target, entry.primary);
    else if (other.primary !== entry.primary) throw refused('renameToOtherShard');
  }
  const flags = { dropTarget: command.get('dropTarget') ?? false, stayTemp: command.get('stayTemp') ?? false };
  const body = doc({ _shardsvrRenameCollection: collectionOf(from), to }, flags);
  const answer = await onPrimary(request, { db, body: doc(body, command.some('collectionUUID', 'targetUUID')) });
  catalog.forget(from);
  return await changed(request, to, answer);
}

/** The handler of collMod. */
export async function collMod(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, ns, collection } = command;
  const body = doc({ _shardsvrCollMod: collection }, command.options());
  const answer = await onPrimary(request, { db, body });
  catalog.forget(ns);
  return answered(answer, answer);
}

/** The handler of dropIndexes. */
export async function dropIndexes(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, collection } = command;
  if ((await catalog.home(db)) === undefined) throw namespaceNotFound();
  if (isConfigDatabase(db)) return await dropOfConfig(request);
  const answer = await onPrimary(request, { db, body: doc({ _shardsvrDropIndexes: collection }, command.options()) });
  return answered(answer, answer);
}

/** The handler of createIndexes: every shard that has chunks builds them for itself, and may fail for itself. */
export async function createIndexes(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, ns } = command;
  if (!isConfigDatabase(db) && (await catalog.database(db)) === undefined) await catalog.createDatabase(db);
  return await request.retryStale(ns, async () => {
    const { table, home } = await request.route(ns);
    const shards = table ? table.shards : [home];
    const bodies = new Map<string, Doc>();
    for (const shard of shards) {
      const version = await request.version(ns, table, shard);
      bodies.set(shard, doc(command.body(), version, request.envelope(shard, 'write')));
    }
    const answers = await request.callAll(shards, db, (shard) => bodies.get(shard) ?? doc());
    requireFresh(answers);
    for (const { shard } of answers) request.transaction?.wrote(shard);
    return rawAnswers(request, answers);
  });
}

function requireFresh(answers: readonly ShardAnswer[]): void {
  for (const { shard, answer } of answers) {
    if (!isTrue(answer.get('ok')) && isStale(numberOf(answer.get('code')) ?? 0)) throw new ShardError(answer, shard);
  }
}
