/** Carries out dbStats, collStats, dataSize and validate: the shards' figures, summed as a mongos sums them. */
import { requireOk, type ShardAnswer } from './backend.js';
import { databaseOf } from './catalog.js';
import { namespaceNotFound } from './errors.js';
import { BSON_TYPE, type Doc, doc, elements, isTrue, numberOf } from './raw-values.js';
import { answered, okay, type Request } from './request.js';
import type { RoutingTable } from './routing-table.js';
import { toAllShards } from './scatter.js';

const NOT_SUMMED: readonly string[] = ['ok', 'scaleFactor', 'fsUsedSize', 'fsTotalSize', 'avgObjSize'];

/** The handler of dbStats. */
export async function dbStats(request: Request): Promise<Doc> {
  const answers = await toAllShards(request, 'none');
  requireOk(answers);
  const raw = doc();
  const sums = new Map<string, number>();
  for (const { shard, answer } of answers) {
    raw.set(request.backend.connectionString(shard), answer);
    for (const [name, value] of answer) {
      const number = numberOf(value);
      if (number !== undefined && !NOT_SUMMED.includes(name)) sums.set(name, (sums.get(name) ?? 0) + number);
    }
  }
  const avgObjSize = ratio(sums.get('dataSize'), sums.get('objects'));
  return okay(doc({ raw, db: request.command.db }, sums, { avgObjSize }), ...answers.map(({ answer }) => answer));
}

function ratio(whole: number | undefined, parts: number | undefined): number {
  return parts === undefined || parts === 0 ? 0 : (whole ?? 0) / parts;
}

/** Asks the shards that have a part of a collection. */
async function ofCollection(
  request: Request,
  ns: string,
): Promise<{ table: RoutingTable | false; answers: ShardAnswer[] }> {
  const { command, catalog } = request;
  const db = databaseOf(ns);
  if ((await catalog.home(db)) === undefined) throw namespaceNotFound();
  return await request.retryStale(ns, async () => {
    const { table, home } = await request.route(ns);
    const shards = table ? table.shards : [home];
    const bodies = new Map<string, Doc>();
    for (const shard of shards) {
      const version = await request.version(ns, table, shard);
      bodies.set(shard, doc(command.body(), version, request.envelope(shard, 'none')));
    }
    const answers = await request.callAll(shards, db, (shard) => bodies.get(shard) ?? doc());
    requireOk(answers);
    return { table, answers };
  });
}

function sumOf(answers: readonly ShardAnswer[], name: string): number {
  return answers.reduce((sum, { answer }) => sum + (numberOf(answer.get(name)) ?? 0), 0);
}

/** The handler of collStats. Orphans count, as with a mongos. */
export async function collStats(request: Request): Promise<Doc> {
  const { ns } = request.command;
  const { table, answers } = await ofCollection(request, ns);
  const first = answers[0]?.answer;
  const sums = doc();
  for (const name of ['count', 'size', 'storageSize', 'totalIndexSize', 'totalSize', 'freeStorageSize']) {
    sums.set(name, sumOf(answers, name));
  }
  const head = {
    sharded: table !== false,
    capped: first?.get('capped') ?? false,
    ns,
    primary: table === false ? answers[0]?.shard : undefined,
  };
  const tail = {
    indexSizes: indexSizes(answers),
    avgObjSize: ratio(sumOf(answers, 'size'), sumOf(answers, 'count')),
    maxSize: 0n,
    nindexes: Math.max(...answers.map(({ answer }) => numberOf(answer.get('nindexes')) ?? 0)),
    scaleFactor: first?.get('scaleFactor') ?? 1,
    nchunks: table === false ? 1 : table.chunks.length,
    shards: byShard(answers),
  };
  return okay(doc(head, sums, tail), ...answers.map(({ answer }) => answer));
}

function indexSizes(answers: readonly ShardAnswer[]): Doc {
  const sizes = new Map<string, number>();
  for (const { answer } of answers) {
    const own = answer.get('indexSizes');
    if (own?.type !== BSON_TYPE.document) continue;
    for (const { name, value } of elements(own.bytes)) sizes.set(name, (sizes.get(name) ?? 0) + (numberOf(value) ?? 0));
  }
  return doc(sizes);
}

function byShard(answers: readonly ShardAnswer[]): Doc {
  const shards = doc();
  for (const { shard, answer } of answers) {
    shards.set(shard, new Map([...answer].filter(([name]) => name !== 'operationTime')));
  }
  return shards;
}

/** The handler of dataSize. */
export async function dataSize(request: Request): Promise<Doc> {
  const { answers } = await ofCollection(request, request.command.collection);
  const sums = { size: sumOf(answers, 'size'), numObjects: sumOf(answers, 'numObjects') };
  return okay(sums, ...answers.map(({ answer }) => answer));
}

/** The handler of validate. */
export async function validate(request: Request): Promise<Doc> {
  const { answers } = await ofCollection(request, request.command.ns);
  const valid = answers.every(({ answer }) => isTrue(answer.get('valid')));
  return answered(okay({ valid, raw: byShard(answers) }), ...answers.map(({ answer }) => answer));
}
