/** Aggregations on no collection: operations and sessions of all shards, and documents that the client gives. */
import { CONFIG, type ShardAnswer } from './backend.js';
import { passCursor } from './cursors.js';
import { overDocuments } from './over-documents.js';
import {
  bigintOf,
  type Doc,
  doc,
  documentOf,
  documentsOf,
  elements,
  fieldOf,
  firstName,
  isTrue,
  type RawValue,
  rawValue,
} from './raw-values.js';
import { cursorOf } from './remote-cursor.js';
import { okay, type Request } from './request.js';
import { requireCursors } from './require-cursors.js';

/** Stages that each shard answers for itself. */
const PER_SHARD: readonly string[] = ['$currentOp', '$listLocalSessions', '$listSessions'];

/** Carries out `{aggregate: 1, …}`. */
export async function clusterWide(request: Request, pipeline: readonly Buffer[]): Promise<Doc> {
  const { command } = request;
  const [first, ...rest] = pipeline;
  const name = first === undefined ? '' : firstName(first);
  if (first === undefined || !PER_SHARD.includes(name)) return await onHome(request);
  const spec = documentOf(fieldOf(first, name));
  // A router has no operations of its own to tell of.
  const isLocal = spec !== undefined && isTrue(fieldOf(spec, 'localOps'));
  const documents = isLocal ? [] : await ofAllShards(request, first);
  if (rest.length === 0) return cursorOver(request, documents);
  const answer = await overDocuments(request.for(command.with({ $db: 'admin' })), documents, rest);
  return passCursor(request, CONFIG, answer as Map<string, RawValue>);
}

function cursorOver(request: Request, firstBatch: readonly Buffer[]): Doc {
  const ns = `${request.command.db}.$cmd.aggregate`;
  return okay({ cursor: doc({ firstBatch, id: 0n, ns }) });
}

async function onHome(request: Request): Promise<Doc> {
  const { command, catalog, backend } = request;
  const shard = (await catalog.home(command.db)) ?? backend.shards[0] ?? CONFIG;
  const body = doc(command.body(), command.some('cursor'), request.envelope(shard, 'both'));
  return passCursor(request, shard, await request.callOk(shard, command.db, body));
}

async function ofAllShards(request: Request, stage: Buffer): Promise<Buffer[]> {
  const { command, backend } = request;
  const own = doc({ aggregate: 1, pipeline: [stage], cursor: { batchSize: 1_000_000 } });
  const flags = { fromMongos: true, needsMerge: true };
  const answers = await request.callAll(backend.shards, command.db, (shard) =>
    doc(own, flags, request.envelope(shard, 'both')),
  );
  await requireCursors(request, answers);
  return answers.flatMap(marked);
}

/** Each document with its shard, operations by `<shard>:<number>`. */
function marked({ shard, answer }: ShardAnswer): Buffer[] {
  return documentsOf(cursorOf(answer).get('firstBatch')).map((raw) => {
    const fields = new Map(Array.from(elements(raw), ({ name, value }) => [name, value] as const));
    if (fields.has('shard')) return raw;
    const opid = fields.get('opid');
    const own = opid === undefined || opid.type === 2 ? undefined : { opid: `${shard}:${bigintOf(opid)}` };
    return rawValue(doc({ shard }, fields, own)).bytes;
  });
}
