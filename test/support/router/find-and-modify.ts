/** Carries out findAndModify, on the one shard that the query names. */
import { isConfigDatabase } from './catalog.js';
import { ShardError } from './errors.js';
import { moveDocument, WOULD_CHANGE_OWNING_SHARD } from './key-moves.js';
import { type Doc, doc, encode, type Fields, isTrue, numberOf } from './raw-values.js';
import { refused } from './refusals.js';
import { answered, ONE, type Request } from './request.js';
import type { RoutingTable } from './routing-table.js';
import { comparesSimply, targetQuery } from './targeting.js';

/** The handler of findAndModify. Errors: ShardKeyNotFound (61) where the query does not name one shard. */
export async function findAndModify(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  if (!isConfigDatabase(command.db) && (await catalog.database(command.db)) === undefined) {
    await catalog.createDatabase(command.db);
  }
  return await request.retryStale(command.ns, async () => {
    const { table, home } = await request.route(command.ns);
    const shard = table ? targetOne(request, table) : home;
    const version = await request.version(command.ns, table, shard);
    const envelope = request.envelope(shard, 'write');
    const body = doc(
      { findAndModify: command.collection },
      command.options(),
      version,
      envelope,
      command.some('stmtId'),
    );
    const answer = await request.call(shard, command.db, body);
    if (isTrue(answer.get('ok'))) {
      request.transaction?.wrote(shard);
      return answered(answer, answer);
    }
    if (table === false || numberOf(answer.get('code')) !== WOULD_CHANGE_OWNING_SHARD) {
      throw new ShardError(answer, shard);
    }
    return await moved(request, table, shard, answer);
  });
}

function targetOne({ command }: Request, table: RoutingTable): string {
  const query = command.document('query') ?? encode({});
  const { shards, exact } = targetQuery(table, query, comparesSimply(command, table));
  const [shard] = shards;
  if (shard === undefined || shards.length > 1 || (command.flag('upsert') && !exact)) {
    throw refused('findAndModifyWithoutKey');
  }
  return shard;
}

async function moved(request: Request, table: RoutingTable, shard: string, answer: Fields): Promise<Doc> {
  const { db, collection } = request.command;
  const result = await moveDocument(request, { ns: { db, collection }, table, shard, answer });
  const { before, after, upsertedId, operationTime } = result;
  const lastErrorObject = doc({ n: 1, updatedExisting: upsertedId === undefined, upserted: upsertedId });
  const value = request.command.flag('new') ? after : (before ?? null);
  return doc({ lastErrorObject, value, ok: ONE }, { operationTime: operationTime.get('operationTime') });
}
