/** Carries out listCollections, listIndexes and listDatabases. */
import { CONFIG, requireOk } from './backend.js';
import { isConfigDatabase } from './catalog.js';
import { emptyCursor, passCursor } from './cursors.js';
import { requireAdmin } from './ddl.js';
import { namespaceNotFound } from './errors.js';
import { overDocuments } from './over-documents.js';
import { maySeeDatabase } from './privileges.js';
import { asFields, bigintOf, type Doc, doc, documentsOf, encode, type Fields, fieldsOf, textOf } from './raw-values.js';
import { cursorOf } from './remote-cursor.js';
import { okay, type Request } from './request.js';

/** The handler of listIndexes: as the shard of the lowest chunk has them. */
export async function listIndexes(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, ns } = command;
  if ((await catalog.home(db)) === undefined) throw namespaceNotFound(`ns does not exist: ${ns}`);
  return await request.retryStale(ns, async () => {
    const { table, home } = await request.route(ns);
    const shard = table ? (table.chunks[0]?.shard ?? home) : home;
    const version = await request.version(ns, table, shard);
    const body = doc(command.body(), command.some('cursor'), version, request.envelope(shard, 'none'));
    return passCursor(request, shard, await request.callOk(shard, db, body));
  });
}

/** The handler of listCollections: as the database's primary shard has them. */
export async function listCollections(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db } = command;
  if ((await catalog.home(db)) === undefined) return emptyCursor(`${db}.$cmd.listCollections`);
  return await request.retryStale(`${db}.$cmd`, async () => {
    const shard = (await catalog.home(db)) ?? CONFIG;
    const databaseVersion = (await catalog.database(db))?.version;
    const envelope = request.envelope(shard, 'none');
    const body = doc(command.body(), command.some('cursor'), { databaseVersion }, envelope);
    return passCursor(request, shard, await request.callOk(shard, db, body));
  });
}

/** One database on one shard. */
interface Share {
  readonly name: string;
  readonly shard: string;
  readonly bytes: bigint;
}

/** The handler of listDatabases: sums over the shards; `admin` and `config` are the config servers'. */
export async function listDatabases(request: Request): Promise<Doc> {
  requireAdmin(request);
  const { command, catalog, backend } = request;
  await catalog.loadShards();
  const body = doc({ listDatabases: 1 }, request.envelope(CONFIG, 'none'));
  const answers = await request.callAll([...backend.shards, CONFIG], 'admin', () => body);
  requireOk(answers);
  const shares = answers
    .flatMap(({ shard, answer }) => sharesOf(shard, answer))
    .filter(({ name }) => !backend.authenticated || maySeeDatabase(request.client.privileges, name));
  const all = await filtered(request, summed(shares));
  const from = answers.map(({ answer }) => answer);
  if (command.flag('nameOnly')) {
    const databases = all.map((each) => ({ name: fieldsOf(each).get('name') }));
    return okay({ databases }, ...from);
  }
  const totalSize = all.reduce((sum, each) => sum + bigintOf(fieldsOf(each).get('sizeOnDisk')), 0n);
  return okay({ databases: all, totalSize, totalSizeMb: totalSize >> 20n }, ...from);
}

function sharesOf(shard: string, answer: Fields): Share[] {
  const shares = documentsOf(answer.get('databases')).map((raw) => {
    const fields = fieldsOf(raw);
    return { name: textOf(fields.get('name')) ?? '', shard, bytes: bigintOf(fields.get('sizeOnDisk')) };
  });
  return shares.filter(({ name }) => {
    if (name === 'local') return false;
    // A shard has a `config` of its own, which counts, and an `admin`, which does not.
    return shard === CONFIG ? isConfigDatabase(name) : name !== 'admin';
  });
}

function summed(shares: readonly Share[]): Buffer[] {
  const names = [...new Set(shares.map(({ name }) => name))].sort();
  return names.map((name) => {
    const own = shares.filter((each) => each.name === name);
    const sizeOnDisk = own.reduce((sum, { bytes }) => sum + bytes, 0n);
    const shards = doc(Object.fromEntries(own.map(({ shard, bytes }) => [shard, bytes])));
    return encode({ name, sizeOnDisk, empty: false, shards });
  });
}

async function filtered(request: Request, databases: Buffer[]): Promise<Buffer[]> {
  const filter = request.command.get('filter');
  if (filter === undefined) return databases;
  const answer = await overDocuments(request, databases, [encode({ $match: filter })]);
  return documentsOf(cursorOf(asFields(answer)).get('firstBatch'));
}
