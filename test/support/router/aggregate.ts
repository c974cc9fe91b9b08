/** Carries out aggregate: what can run on the shards runs there, a shard merges the rest with the server's own stages. */
import type { ShardAnswer } from './backend.js';
import { isConfigDatabase } from './catalog.js';
import { openChangeStream } from './change-streams.js';
import { clusterWide } from './cluster-aggregate.js';
import { directionsOf, emptyCursor, FIRST_BATCH, MergedCursor, mergeCursors, passCursor } from './cursors.js';
import { RouterError, ShardError } from './errors.js';
import { overDocuments } from './over-documents.js';
import { BSON_TYPE, type Doc, doc, elements, encode, fieldOf, firstName, numberOf } from './raw-values.js';
import { refused } from './refusals.js';
import { cursorOf, RemoteCursor } from './remote-cursor.js';
import type { Request } from './request.js';
import { closeCursors, requireCursors } from './require-cursors.js';
import type { RoutingTable } from './routing-table.js';
import { comparesSimply, targetQuery } from './targeting.js';
import { isView, onView } from './views.js';

/** Stages that look at one document at a time, or at one shard's own affairs: any shard may run them for its part. */
const PER_SHARD: ReadonlySet<string> = new Set([
  '$match',
  '$project',
  '$addFields',
  '$set',
  '$unset',
  '$replaceRoot',
  '$replaceWith',
  '$unwind',
  '$redact',
  '$collStats',
  '$indexStats',
  '$planCacheStats',
  '$_internalFindAndModifyImageLookup',
]);
/** Stages that read other collections, which may be on other shards. */
const LOOKS_ELSEWHERE: ReadonlySet<string> = new Set(['$lookup', '$graphLookup', '$unionWith']);
const EVERYTHING = 1_000_000_000;

/** The handler of aggregate. */
export async function aggregate(request: Request): Promise<Doc> {
  const { command } = request;
  const pipeline = command.documents('pipeline');
  if (stageName(pipeline[0]) === '$changeStream') return await openChangeStream(request, pipeline);
  if (command.flag('explain')) throw refused('explain');
  if (!command.has('cursor')) {
    const message = "The 'cursor' option is required, except for aggregate with the explain argument";
    throw new RouterError(9, 'FailedToParse', message);
  }
  if (command.target.type !== BSON_TYPE.string) return await clusterWide(request, pipeline);
  if ((await request.catalog.home(command.db)) === undefined) return emptyCursor(command.ns);
  try {
    return await request.retryStale(command.ns, () => aggregateCollection(request, pipeline));
  } catch (error) {
    if (!(error instanceof ShardError) || !isView(error)) throw error;
    return await aggregate(request.for(onView(command, error)));
  }
}

function stageName(stage: Buffer | undefined): string {
  return stage === undefined ? '' : firstName(stage);
}

async function aggregateCollection(request: Request, pipeline: readonly Buffer[]): Promise<Doc> {
  const { command } = request;
  const { table, home } = await request.route(command.ns);
  if (!table) return await onOneShard(request, home, table);
  const [first] = pipeline;
  const query = stageName(first) === '$match' ? fieldOf(first as Buffer, '$match')?.bytes : undefined;
  const { shards } = targetQuery(table, query ?? encode({}), comparesSimply(command, table));
  const plan = splitPipeline(pipeline);
  const looksElsewhere = plan.merging.some((stage) => LOOKS_ELSEWHERE.has(stageName(stage))) || plan.writes;
  if (shards.length === 1 && !looksElsewhere) return await onOneShard(request, shards[0] as string, table);
  const batchSize = plan.merging.length === 0 ? firstBatchSize(request) : 0;
  const answers = await onShards(request, shards, { table, pipeline: plan.onShards, batchSize });
  const { directions, limit } = plan;
  if (plan.merging.length === 0) {
    return await mergeCursors(request, answers, { ns: command.ns, batchSize, directions, limit });
  }
  if (request.transaction !== undefined) return await mergeHere(request, answers, plan, home);
  return await mergeOnShard(request, answers, plan, home);
}

/** What of a pipeline runs where. */
interface SplitPipeline {
  readonly onShards: readonly Buffer[];
  /** What is left for whoever merges. */
  readonly merging: readonly Buffer[];
  /** The order in which the shards give their documents. */
  readonly sort: Buffer | undefined;
  readonly directions: readonly number[] | undefined;
  readonly limit: number | undefined;
  /** Whether it ends with `$out` or `$merge`. */
  readonly writes: boolean;
}

function splitPipeline(pipeline: readonly Buffer[]): SplitPipeline {
  let count = 0;
  while (count < pipeline.length && PER_SHARD.has(stageName(pipeline[count]))) count += 1;
  const rest = pipeline.slice(count);
  const writes = ['$out', '$merge'].includes(stageName(rest.at(-1)));
  const plan = { onShards: pipeline.slice(0, count), merging: rest, sort: undefined, directions: undefined, writes };
  const [first, second] = rest;
  switch (stageName(first)) {
    case '$sort':
      return splitAtSort(plan, first as Buffer, second);
    case '$limit':
      if (rest.length > 1) break;
      return { ...plan, onShards: pipeline, merging: [], limit: limitOf(first as Buffer) };
    case '$sample':
      return { ...plan, onShards: pipeline.slice(0, count + 1), limit: undefined };
  }
  return { ...plan, limit: undefined };
}

function splitAtSort(
  plan: Pick<SplitPipeline, 'onShards' | 'merging' | 'writes'>,
  stage: Buffer,
  next: Buffer | undefined,
): SplitPipeline {
  const onShards = [...plan.onShards, stage];
  const sort = fieldOf(stage, '$sort')?.bytes ?? encode({});
  const byMeta = [...elements(sort)].some(({ value }) => value.type === BSON_TYPE.document);
  // Documents sorted by a score are sorted once more by the same stage.
  if (byMeta) return { ...plan, onShards, sort: undefined, directions: undefined, limit: undefined };
  const sorted = { ...plan, sort, directions: directionsOf(sort) };
  const isWindow = stageName(next) === '$limit' && plan.merging.length === 2;
  if (!isWindow) return { ...sorted, onShards, merging: plan.merging.slice(1), limit: undefined };
  return { ...sorted, onShards: [...onShards, next as Buffer], merging: [], limit: limitOf(next as Buffer) };
}

function limitOf(stage: Buffer): number | undefined {
  return numberOf(fieldOf(stage, '$limit'));
}

function firstBatchSize({ command }: Request): number {
  const cursor = command.document('cursor');
  return numberOf(cursor && fieldOf(cursor, 'batchSize')) ?? FIRST_BATCH;
}

async function onOneShard(request: Request, shard: string, table: RoutingTable | false): Promise<Doc> {
  const { command } = request;
  const fromMongos = isConfigDatabase(command.db) ? undefined : true;
  const version = await request.version(command.ns, table, shard);
  const body = doc(command.body(), command.some('cursor'), { fromMongos }, version, request.envelope(shard, 'both'));
  return passCursor(request, shard, await request.callOk(shard, command.db, body));
}

async function onShards(
  request: Request,
  shards: readonly string[],
  { table, pipeline, batchSize }: { table: RoutingTable; pipeline: readonly Buffer[]; batchSize: number },
): Promise<ShardAnswer[]> {
  const { command } = request;
  const bodies = new Map<string, Doc>();
  for (const shard of shards) {
    const own = doc({ aggregate: command.target, pipeline }, command.options('pipeline'));
    const flags = { cursor: { batchSize }, fromMongos: true, needsMerge: true };
    const version = await request.version(command.ns, table, shard);
    bodies.set(shard, doc(own, flags, version, request.envelope(shard, 'both')));
  }
  const answers = await request.callAll(shards, command.db, (shard) => bodies.get(shard) ?? doc());
  await requireCursors(request, answers);
  return answers;
}

/** The primary shard takes over the other shards' cursors and runs the rest of the pipeline. */
async function mergeOnShard(
  request: Request,
  answers: readonly ShardAnswer[],
  { sort, merging }: SplitPipeline,
  shard: string,
): Promise<Doc> {
  const { command } = request;
  const remotes = answers.map((each) => {
    const { id, ns, firstBatch } = Object.fromEntries(cursorOf(each.answer));
    const cursorResponse = { cursor: doc({ id, ns, firstBatch }), ok: 1 };
    return doc({ shardId: each.shard, hostAndPort: request.backend.hostOf(each.shard), cursorResponse });
  });
  const $mergeCursors = doc({ sort, remotes, nss: command.ns, allowPartialResults: false });
  const own = doc({ aggregate: command.target, pipeline: [doc({ $mergeCursors }), ...merging] });
  const options = doc(command.options('pipeline'), command.some('cursor'), { fromMongos: true });
  const body = doc(own, options, request.envelope(shard, 'both'));
  try {
    return passCursor(request, shard, await request.callOk(shard, command.db, body));
  } catch (error) {
    await closeCursors(request, answers);
    throw error;
  }
}

/** In a transaction a shard cannot merge: it would need its own session twice. All is gathered here, and given to it. */
async function mergeHere(
  request: Request,
  answers: readonly ShardAnswer[],
  { directions, merging }: SplitPipeline,
  shard: string,
): Promise<Doc> {
  const remotes = answers.map((each) => new RemoteCursor(each.shard, each.answer));
  const session = doc(request.command.some('lsid'), {
    txnNumber: request.transaction?.number,
    autocommit: false,
  });
  const cursor = new MergedCursor(remotes, session, { ns: request.command.ns, directions });
  const documents: Buffer[] = [];
  while (!cursor.isDone) documents.push(...(await cursor.take(request, EVERYTHING)));
  return await overDocuments(request, documents, merging, shard);
}
