/** Opens change streams: one on every shard, resumed at one place. */

import { Timestamp } from 'mongodb';
import type { ShardAnswer } from './backend.js';
import {
  BSON_TYPE,
  type Doc,
  doc,
  documentOf,
  type Encodable,
  encode,
  type Fields,
  fieldOf,
  fieldsOf,
  isTrue,
  rawValue,
  textOf,
} from './raw-values.js';
import { refused } from './refusals.js';
import { answered, ONE, type Request } from './request.js';
import { requireCursors } from './require-cursors.js';
import { StreamCursor, tokenOf } from './stream-cursor.js';
import { compareValues } from './value-order.js';

/** How long a resume token's event is looked for. */
const TOKEN_SEARCH_MS = 30_000;

/** Where a stream begins. */
interface Beginning {
  /** The `$changeStream` stage as the shards get it. */
  readonly stage: Fields | Doc;
  /** The token of the event that the stream resumes after, which must be there; events up to it are left out. */
  readonly event: string | undefined;
}

/** The handler of an aggregation that begins with `$changeStream`. Errors: ChangeStreamFatalError (280), 31123, 73. */
export async function openChangeStream(request: Request, pipeline: readonly Buffer[]): Promise<Doc> {
  const { command, catalog, backend, parts } = request;
  const [first, ...rest] = pipeline;
  const spec = fieldsOf((first && documentOf(fieldOf(first, '$changeStream'))) ?? encode({}));
  const ns = streamNs(request);
  requireAllowed(spec, ns);
  await catalog.loadShards();
  const beginning = beginningOf(request, spec);
  const { stage, event } = beginning;
  if (event !== undefined) await requireEvent(request, stage, event);
  const stages = [withoutNewShards(), ...imageStages(spec), ...rest];
  const answers = await openOnShards(request, stage, { shards: backend.shards, stages });
  const more = async (again: Request, shards: readonly string[]) =>
    await openOnShards(request.for(command.with(again.command.some('lsid'))), fromTopologyTime(again, stage, shards), {
      shards,
      stages,
    });
  const cursor = new StreamCursor({ ns, answers, session: command.some('lsid'), after: event, more });
  cursor.id = parts.cursors.register(cursor);
  const fields = doc({ firstBatch: [], postBatchResumeToken: { _data: cursor.highWaterMark }, id: cursor.id, ns });
  return answered({ cursor: fields, ok: ONE }, ...answers.map(({ answer }) => answer));
}

function streamNs({ command }: Request): string {
  return `${command.db}.${textOf(command.target) ?? '$cmd.aggregate'}`;
}

function requireAllowed(spec: Fields, ns: string): void {
  if (isTrue(spec.get('showMigrationEvents'))) throw refused('migrationEvents');
  if (isTrue(spec.get('allowToRunOnSystemNS'))) throw refused('systemNamespaces', { ns });
}

/** A token of an event is resolved here: a shard would look for the event among its own. */
function beginningOf(request: Request, spec: Fields): Beginning {
  const token = spec.get('resumeAfter') ?? spec.get('startAfter');
  if (token === undefined) {
    if (spec.has('startAtOperationTime')) return { stage: spec, event: undefined };
    return { stage: doc(spec, { startAtOperationTime: nextTime(request) }), event: undefined };
  }
  const data = textOf(fieldOf(token.bytes, '_data')) ?? '';
  if (isHighWaterMark(data)) return { stage: spec, event: undefined };
  return { stage: startingAt(spec, timeOfToken(data)), event: data };
}

function startingAt(spec: Fields | Doc, time: Encodable): Doc {
  const kept = [...spec].filter(([name]) => name !== 'resumeAfter' && name !== 'startAfter');
  return doc(new Map<string, Encodable>(kept), { startAtOperationTime: time });
}

function nextTime({ backend }: Request): Timestamp {
  const now = backend.clock.now;
  if (now === undefined) return new Timestamp({ t: Math.floor(Date.now() / 1000), i: 1 });
  return new Timestamp(now.bytes.readBigUInt64LE(0) + 1n);
}

/** Hex digits 2 to 17 of a token are its cluster time. */
function timeOfToken(data: string): Timestamp {
  return new Timestamp(BigInt(`0x${data.slice(2, 18)}`));
}

/** Whether a token names a time and no event. */
function isHighWaterMark(data: string): boolean {
  return data.slice(18, 24) === '2B0229';
}

function fromTopologyTime({ catalog }: Request, stage: Fields | Doc, shards: readonly string[]): Doc {
  const times = shards.map((shard) => catalog.topologyTime(shard)).filter((time) => time !== undefined);
  const [earliest] = times.sort(compareValues);
  return startingAt(stage, earliest ?? new Timestamp(0n));
}

/** A shard tells with an event of this kind that it has its first chunk: a mongos keeps it to itself. */
function withoutNewShards(): Doc {
  return doc({ $match: { operationType: { $ne: 'kNewShardDetected' } } });
}

/** With `needsMerge` a shard of 6.0 leaves the look-ups of images out of `$changeStream`: they are sent as stages. */
function imageStages(spec: Fields): Doc[] {
  const [before, after] = [spec.get('fullDocumentBeforeChange'), spec.get('fullDocument')];
  const stages: Doc[] = [];
  if (before !== undefined && textOf(before) !== 'off') {
    stages.push(doc({ $_internalChangeStreamAddPreImage: { fullDocumentBeforeChange: before } }));
  }
  if (after !== undefined && textOf(after) !== 'default') {
    stages.push(doc({ $_internalChangeStreamAddPostImage: { fullDocument: after } }));
  }
  return stages;
}

async function openOnShards(
  request: Request,
  stage: Fields | Doc,
  { shards, stages }: { readonly shards: readonly string[]; readonly stages: readonly Encodable[] },
): Promise<ShardAnswer[]> {
  const { command } = request;
  const isCollection = command.target.type === BSON_TYPE.string;
  const pipeline = [doc({ $changeStream: rawValue(doc(stage)) }), ...stages];
  const own = doc({
    aggregate: command.target,
    pipeline,
    cursor: { batchSize: 0 },
    fromMongos: true,
    needsMerge: true,
  });
  const collation = command.get('collation') ?? (isCollection ? rawValue({ locale: 'simple' }) : undefined);
  const bodyFor = (shard: string): Doc =>
    doc(own, { collation }, request.envelope(shard, 'write'), { readConcern: { level: 'majority' } });
  const answers = await request.callAll(shards, command.db, bodyFor);
  await requireCursors(request, answers);
  return answers;
}

/** Errors: ChangeStreamFatalError (280) unless the event of that token is in some shard's oplog. */
async function requireEvent(request: Request, stage: Fields | Doc, event: string): Promise<void> {
  const answers = await openOnShards(request, stage, { shards: request.backend.shards, stages: [] });
  const session = request.command.some('lsid');
  const search = new StreamCursor({ ns: streamNs(request), answers, session, after: undefined, more: undefined });
  try {
    const until = Date.now() + TOKEN_SEARCH_MS;
    while (Date.now() < until) {
      const tokens = (await search.take(request, { count: 1000, waitMs: 200 })).map(tokenOf);
      if (tokens.includes(event)) return;
      if (tokens.some((token) => token > event) || search.highWaterMark > event) break;
    }
  } finally {
    await search.kill(request);
  }
  throw refused('tokenNotFound', { token: event }, { errorLabels: ['NonResumableChangeStreamError'] });
}
