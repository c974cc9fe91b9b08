/** Carries out what splits, moves and merges chunks. */
import { CONFIG, MAJORITY } from './backend.js';
import { databaseOf } from './catalog.js';
import { adminNs } from './ddl.js';
import { RouterError } from './errors.js';
import {
  type Doc,
  doc,
  documentsOf,
  elements,
  type Fields,
  itemsOf,
  NULL,
  type RawValue,
  shown,
} from './raw-values.js';
import { refused } from './refusals.js';
import { okay, type Request } from './request.js';
import { type Chunk, type RoutingTable, valuesOf } from './routing-table.js';
import { keyOf } from './targeting.js';
import { compareLists } from './value-order.js';

/** A sharded collection, read anew. Errors: NamespaceNotSharded (118). */
export async function freshTable({ catalog }: Request, ns: string): Promise<RoutingTable> {
  catalog.forget(ns);
  const table = await catalog.collection(ns);
  if (table === false) throw refused('notSharded', { ns });
  return table;
}

/** Has the config servers do something, with majority. */
export async function onConfig(request: Request, body: Doc): Promise<Fields> {
  return await request.callOk(CONFIG, 'admin', doc(body, { writeConcern: MAJORITY }));
}

/** The chunk that a command means by `find` (a document), `middle` (a key) or `bounds`. */
function chunkMeant({ command }: Request, table: RoutingTable): Chunk {
  const [middle, query] = [command.document('middle'), command.document('find')];
  const [low] = itemsOf(command.get('bounds'));
  if (middle !== undefined) return table.chunkOf(keyFields(table, middle));
  if (query !== undefined) return table.chunkOf(table.stored(keyOf(table, query)));
  if (low !== undefined) return table.chunkOf(valuesOf(low));
  throw new RouterError(9, 'FailedToParse', 'need to specify find, bounds or middle');
}

/** A key as chunks' bounds have it: a dotted path is one field's name there. */
function keyFields(table: RoutingTable, key: Buffer): RawValue[] {
  const fields = new Map(Array.from(elements(key), ({ name, value }) => [name, value] as const));
  return table.paths.map((path) => fields.get(path) ?? NULL);
}

/** The handler of split. */
export async function split(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const table = await freshTable(request, ns);
  const chunk = chunkMeant(request, table);
  const splitKeys = await splitKeysOf(request, ns, { table, chunk });
  const place = { from: chunk.shard, keyPattern: table.key, min: chunk.min, max: chunk.max };
  const version = { epoch: table.epoch, timestamp: table.timestamp };
  const answer = await request.callOk(chunk.shard, 'admin', doc({ splitChunk: ns }, place, version, { splitKeys }));
  return forgotten(request, ns, answer);
}

async function splitKeysOf(
  request: Request,
  ns: string,
  { table, chunk }: { readonly table: RoutingTable; readonly chunk: Chunk },
): Promise<Buffer[]> {
  const middle = request.command.document('middle');
  if (middle !== undefined) {
    if (compareLists(keyFields(table, middle), chunk.low) !== 0) return [middle];
    throw refused('splitAtBoundary', { key: shown(middle) });
  }
  const body = doc({ splitVector: ns, keyPattern: table.key, min: chunk.min, max: chunk.max, force: true });
  const found = documentsOf((await request.callOk(chunk.shard, databaseOf(ns), body)).get('splitKeys'));
  if (found.length === 0) throw new RouterError(8, 'UnknownError', 'no split points found in chunk');
  return found;
}

/** The handler of moveChunk. */
export async function moveChunk(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const { command, backend, catalog } = request;
  const table = await freshTable(request, ns);
  const shard = command.text('to') ?? '';
  if (!backend.shards.includes(shard)) await catalog.loadShards();
  if (!backend.shards.includes(shard)) throw refused('moveToNowhere', { ns, shard });
  const { min, max } = chunkMeant(request, table);
  const waitForDelete = command.flag('_waitForDelete') || command.flag('waitForDelete');
  const forceJumbo = command.flag('forceJumbo') ? 2 : 0;
  const started = Date.now();
  const body = doc({ _configsvrMoveRange: ns, toShard: shard, min, max, waitForDelete, forceJumbo });
  const answer = await onConfig(request, body);
  catalog.forget(ns);
  return okay({ millis: Date.now() - started }, answer);
}

/** The handler of moveRange. */
export async function moveRange(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  await freshTable(request, ns);
  const options = request.command.some('toShard', 'min', 'max', 'waitForDelete', 'forceJumbo');
  return forgotten(request, ns, await onConfig(request, doc({ _configsvrMoveRange: ns }, options)));
}

/** The handler of mergeChunks. */
export async function mergeChunks(request: Request): Promise<Doc> {
  const ns = adminNs(request);
  const table = await freshTable(request, ns);
  const { shard } = chunkMeant(request, table);
  const version = { epoch: table.epoch, timestamp: table.timestamp };
  const body = doc({ _shardsvrMergeChunks: ns, bounds: request.command.get('bounds') }, version);
  return forgotten(request, ns, await request.callOk(shard, 'admin', body));
}

/** The handler of getShardVersion. */
export async function getShardVersion(request: Request): Promise<Doc> {
  const { latestVersion, epoch, timestamp } = await freshTable(request, request.command.collection);
  return okay({ version: latestVersion, versionEpoch: epoch, versionTimestamp: timestamp });
}

function forgotten({ catalog }: Request, ns: string, answer: Fields): Doc {
  catalog.forget(ns);
  return okay({}, answer);
}
