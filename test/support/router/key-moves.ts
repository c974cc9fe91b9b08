/** Updates that change a document's shard key so that it belongs to another shard: delete and insert in one transaction. */
import { RouterError, ShardError } from './errors.js';
import {
  type Doc,
  doc,
  type Fields,
  fieldOf,
  isTrue,
  itemsOf,
  NULL,
  numberOf,
  type RawValue,
  rawValue,
} from './raw-values.js';
import { refused } from './refusals.js';
import { answered, ONE, type Request } from './request.js';
import type { RoutingTable } from './routing-table.js';
import { keyOf, valueAt } from './targeting.js';
import { abort, commit, Transaction } from './transactions.js';

/** The code by which a shard asks the router to move a document: WouldChangeOwningShard. */
export const WOULD_CHANGE_OWNING_SHARD = 283;

/** What became of a document that was moved. */
export interface MovedDocument {
  /** The document before; undefined where it is inserted (upsert). */
  readonly before: RawValue | undefined;
  readonly after: RawValue;
  readonly upsertedId: RawValue | undefined;
  readonly operationTime: Doc;
}

/** Where a document is to be moved from, and what the shard answered. */
export interface KeyMove {
  readonly ns: { readonly db: string; readonly collection: string };
  readonly table: RoutingTable;
  readonly shard: string;
  /** With `preImage`, `postImage` and `shouldUpsert`. */
  readonly answer: Fields;
}

/**
 * Moves the document, in the client's transaction or in one of its own, which takes the number of the retryable write.
 *
 * Errors: IllegalOperation (20) for a write that is neither; what the shards say, e.g. DuplicateKey; WriteConflict (112).
 */
export async function moveDocument(request: Request, move: KeyMove): Promise<MovedDocument> {
  const transaction = request.transaction ?? ownTransaction(request);
  const isOwn = request.transaction === undefined;
  const [before, after] = [move.answer.get('preImage'), move.answer.get('postImage')];
  if (after === undefined) throw new Error('a shard asks to move a document that it does not name');
  const isUpsert = isTrue(move.answer.get('shouldUpsert'));
  const answers: Fields[] = [];
  try {
    const step = (shard: string, body: Doc) => runStep(request, transaction, { ...move, shard }, body);
    if (!isUpsert && before !== undefined) answers.push(await remove(step, move, before));
    const target = move.table.shardOf(keyOf(move.table, after.bytes));
    answers.push(await step(target, doc({ insert: move.ns.collection, documents: [after] })));
    const concern = request.command.get('writeConcern');
    if (isOwn) answers.push(await commit(request.backend, transaction, concern, request.identity));
  } catch (error) {
    if (isOwn) await abort(request.backend, transaction);
    throw error;
  }
  return {
    before: isUpsert ? undefined : before,
    after,
    upsertedId: isUpsert ? fieldOf(after.bytes, '_id') : undefined,
    operationTime: answered({ ok: ONE }, ...answers),
  };
}

function ownTransaction({ command }: Request): Transaction {
  const [lsid, txnNumber] = [command.get('lsid'), command.get('txnNumber')];
  if (lsid === undefined || txnNumber === undefined) {
    throw refused('keyMoveWithoutRetry');
  }
  return new Transaction(lsid, txnNumber, rawValue({ level: 'local' }));
}

async function remove(
  step: (shard: string, body: Doc) => Promise<Fields>,
  { table, ns, shard }: KeyMove,
  before: RawValue,
): Promise<Fields> {
  const key = table.paths.map((path) => [path, valueAt(before.bytes, path) ?? NULL] as const);
  const query = doc(new Map(key), { _id: fieldOf(before.bytes, '_id') });
  const answer = await step(shard, doc({ delete: ns.collection, deletes: [{ q: query, limit: 1 }] }));
  if (numberOf(answer.get('n')) === 1) return answer;
  throw new RouterError(112, 'WriteConflict', 'the document moved away during the update of its shard key');
}

async function runStep(request: Request, transaction: Transaction, move: KeyMove, body: Doc): Promise<Fields> {
  const { ns, table, shard } = move;
  const version = await request.version(`${ns.db}.${ns.collection}`, table, shard);
  const session = doc({ lsid: transaction.lsid }, transaction.statement(shard));
  const answer = await request.callOk(shard, ns.db, doc(body, version, session));
  transaction.wrote(shard);
  const [failed] = itemsOf(answer.get('writeErrors'));
  if (failed === undefined) return answer;
  const fields = new Map([['ok', rawValue(0)]]);
  for (const name of ['errmsg', 'code', 'keyPattern', 'keyValue']) {
    const value = fieldOf(failed.bytes, name);
    if (value !== undefined) fields.set(name, value);
  }
  throw new ShardError(fields, shard);
}
