/** Carries out find, count, distinct, getMore and killCursors. */

import { aggregate } from './aggregate.js';
import type { ShardAnswer } from './backend.js';
import type { Command } from './command.js';
import { directionsOf, emptyCursor, FIRST_BATCH, mergeCursors, passCursor } from './cursors.js';
import { ShardError } from './errors.js';
import {
  asFields,
  bigintOf,
  type Doc,
  doc,
  documentsOf,
  encode,
  fieldOf,
  fieldsOf,
  itemsOf,
  numberOf,
  type RawValue,
} from './raw-values.js';
import { cursorOf } from './remote-cursor.js';
import { answered, okay, type Request } from './request.js';
import { requireCursors } from './require-cursors.js';
import type { RoutingTable } from './routing-table.js';
import { comparesSimply, targetQuery } from './targeting.js';
import { compareValues } from './value-order.js';
import { isView, onView } from './views.js';

/** The shards of a read, and what each is sent besides the command's own fields. */
interface ReadPlan {
  readonly shards: readonly string[];
  readonly extras: ReadonlyMap<string, Doc>;
}

async function planRead(request: Request, query: Buffer): Promise<ReadPlan> {
  const { command } = request;
  const { table, home } = await request.route(command.ns);
  const shards = table ? targetQuery(table, query, comparesSimply(command, table)).shards : [home];
  return { shards, extras: await extrasOf(request, shards, table) };
}

async function extrasOf(request: Request, shards: readonly string[], table: RoutingTable | false) {
  const extras = new Map<string, Doc>();
  for (const shard of shards) {
    extras.set(shard, doc(await request.version(request.command.ns, table, shard), request.envelope(shard, 'read')));
  }
  return extras;
}

/** Sends the same body to all shards of a plan. Errors: {@link ShardError}; then no cursor is left open. */
async function send(request: Request, { shards, extras }: ReadPlan, body: Doc): Promise<ShardAnswer[]> {
  const answers = await request.callAll(shards, request.command.db, (shard) => doc(body, extras.get(shard)));
  await requireCursors(request, answers);
  return answers;
}

/** Runs a read on a collection, or on what a view stands for. */
async function read(request: Request, work: () => Promise<Doc>): Promise<Doc> {
  try {
    return await request.retryStale(request.command.ns, work);
  } catch (error) {
    if (!(error instanceof ShardError) || !isView(error)) throw error;
    return await aggregateView(request, error);
  }
}

async function aggregateView(request: Request, error: ShardError): Promise<Doc> {
  const answer = await aggregate(request.for(onView(request.command, error)));
  if (request.command.name !== 'count' && request.command.name !== 'distinct') return answer;
  const [first] = documentsOf(cursorOf(asFields(answer)).get('firstBatch'));
  const field = (name: string) => (first === undefined ? undefined : fieldOf(first, name));
  if (request.command.name === 'distinct') return okay({ values: field('values') ?? [] });
  return okay({ n: field('count') ?? 0 });
}

/** The handler of find. */
export async function find(request: Request): Promise<Doc> {
  const { command } = request;
  const ns = command.ns;
  if (command.db === 'local' || (await request.catalog.home(command.db)) === undefined) return emptyCursor(ns);
  return await read(request, async () => {
    const plan = await planRead(request, command.document('filter') ?? encode({}));
    if (plan.shards.length === 1) {
      const [{ shard, answer } = noAnswer()] = await send(request, plan, command.body());
      return passCursor(request, shard, answer);
    }
    const { sort, limit, skip } = windowOf(command);
    const answers = await send(request, plan, findOnShards(command));
    return await mergeCursors(request, answers, {
      ns,
      batchSize: command.has('batchSize') ? command.number('batchSize') : FIRST_BATCH,
      directions: sort === undefined ? undefined : directionsOf(sort),
      limit: Math.abs(limit),
      skip,
      singleBatch: command.flag('singleBatch') || limit < 0,
    });
  });
}

function noAnswer(): never {
  throw new Error('a command was sent to no shard');
}

function windowOf(command: Command): { sort: Buffer | undefined; limit: number; skip: number } {
  const sort = command.document('sort');
  const isSorted = sort !== undefined && sort.length > 5;
  return { sort: isSorted ? sort : undefined, limit: command.number('limit'), skip: command.number('skip') };
}

/** A find as each of several shards gets it: what is skipped is skipped here, and sort keys come along. */
function findOnShards(command: Command): Doc {
  const { sort, limit, skip } = windowOf(command);
  const body = command.body('skip');
  if (limit !== 0) body.set('limit', BigInt(Math.abs(limit) + skip));
  if (sort !== undefined) {
    const projection = command.get('projection');
    const fields = projection === undefined ? undefined : fieldsOf(projection.bytes);
    body.set('projection', doc(fields, { $sortKey: { $meta: 'sortKey' } }));
  }
  return body;
}

/** The handler of getMore. */
export async function getMore(request: Request): Promise<Doc> {
  return await request.parts.cursors.more(bigintOf(request.command.target), request);
}

/** The handler of killCursors. */
export async function killCursors(request: Request): Promise<Doc> {
  const killed: RawValue[] = [];
  const notFound: RawValue[] = [];
  for (const id of itemsOf(request.command.get('cursors'))) {
    const found = await request.parts.cursors.kill(bigintOf(id), request);
    (found ? killed : notFound).push(id);
  }
  return okay({ cursorsKilled: killed, cursorsNotFound: notFound, cursorsAlive: [], cursorsUnknown: [] });
}

/** The handler of count. Orphans count, as with a mongos. */
export async function count(request: Request): Promise<Doc> {
  const { command } = request;
  if ((await request.catalog.home(command.db)) === undefined) return okay({ n: 0 });
  return await read(request, async () => {
    const plan = await planRead(request, command.document('query') ?? encode({}));
    const { limit, skip } = windowOf(command);
    const several = plan.shards.length > 1;
    const body = several ? command.body('skip') : command.body();
    if (several && limit !== 0) body.set('limit', BigInt(limit + skip));
    const answers = await send(request, plan, body);
    const sum = answers.reduce((total, { answer }) => total + (numberOf(answer.get('n')) ?? 0), 0);
    const beyond = several ? Math.max(0, sum - skip) : sum;
    const n = several && limit !== 0 ? Math.min(beyond, limit) : beyond;
    return answered(okay({ n }), ...answers.map(({ answer }) => answer));
  });
}

/** The handler of distinct. */
export async function distinct(request: Request): Promise<Doc> {
  const { command } = request;
  if ((await request.catalog.home(command.db)) === undefined) return okay({ values: [] });
  return await read(request, async () => {
    const plan = await planRead(request, command.document('query') ?? encode({}));
    const answers = await send(request, plan, command.body());
    const all = answers.flatMap(({ answer }) => itemsOf(answer.get('values'))).sort(compareValues);
    const values = all.filter((each, index) => index === 0 || compareValues(all[index - 1] as RawValue, each) !== 0);
    return answered(okay({ values }), ...answers.map(({ answer }) => answer));
  });
}
