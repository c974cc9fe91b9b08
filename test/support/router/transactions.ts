/** Transactions over several shards: who takes part, and how they are ended. */
import { type Backend, type Identity, MAJORITY } from './backend.js';
import type { Command } from './command.js';
import { RouterError } from './errors.js';
import { bigintOf, type Doc, doc, fieldsOf, type RawValue } from './raw-values.js';

/** One transaction: its shards in the order in which they were first asked, and whether they have written. */
export class Transaction {
  readonly participants = new Map<string, { hasWritten: boolean }>();
  readonly readConcern: RawValue | undefined;

  constructor(
    readonly lsid: RawValue,
    readonly number: RawValue,
    readConcern: RawValue | undefined,
  ) {
    this.readConcern = readConcern;
  }

  /** What a statement for that shard must carry; the first begins the transaction there, the very first coordinates. */
  statement(shard: string): Doc {
    const fields = doc({ txnNumber: this.number, autocommit: false });
    if (this.participants.has(shard)) return fields;
    fields.set('startTransaction', true);
    if (this.participants.size === 0) fields.set('coordinator', true);
    if (this.readConcern !== undefined) fields.set('readConcern', this.readConcern);
    this.participants.set(shard, { hasWritten: false });
    return fields;
  }

  /** Notes that a shard has changed something. */
  wrote(shard: string): void {
    const participant = this.participants.get(shard);
    if (participant !== undefined) participant.hasWritten = true;
  }
}

/** Commits: alone on one shard, else in two phases if more than one has written. Errors: ShardError, HostUnreachable. */
export async function commit(
  backend: Backend,
  { participants, lsid, number }: Transaction,
  writeConcern: RawValue | Doc | undefined,
  identity: Identity,
): Promise<Map<string, RawValue>> {
  const session = doc({ lsid, txnNumber: number, autocommit: false, writeConcern: writeConcern ?? { w: 'majority' } });
  const send = (shard: string, command: Doc) =>
    backend.callOk({ shard, db: 'admin', body: doc(command, session) }, identity);
  const all = [...participants.keys()];
  const writers = all.filter((shard) => participants.get(shard)?.hasWritten);
  if (writers.length > 1) {
    const command = doc({ coordinateCommitTransaction: 1, participants: all.map((shardId) => ({ shardId })) });
    return await send(all[0] as string, command);
  }
  let answer = new Map<string, RawValue>();
  // Whoever has written comes last: the others only end their reads.
  for (const shard of [...all.filter((each) => !writers.includes(each)), ...writers]) {
    answer = await send(shard, doc({ commitTransaction: 1 }));
  }
  return answer;
}

/** Aborts on these shards, by default all. A shard that cannot be reached lets go of it by itself. */
export async function abort(
  backend: Backend,
  { participants, lsid, number }: Transaction,
  shards: Iterable<string> = participants.keys(),
): Promise<void> {
  const session = { lsid, txnNumber: number, autocommit: false, writeConcern: MAJORITY };
  const body = doc({ abortTransaction: 1 }, session);
  await Promise.allSettled(Array.from(shards, (shard) => backend.call({ shard, db: 'admin', body })));
}

/** All transactions that clients have open on this router. */
export class Transactions {
  readonly #open = new Map<string, Transaction>();
  readonly #backend: Backend;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** The transaction a statement belongs to, begun if the statement begins it. Errors: NoSuchTransaction (251). */
  of(command: Command): Transaction | undefined {
    if (!command.inTransaction) return undefined;
    if (!command.flag('startTransaction')) return this.find(command);
    const [session] = keyOf(command);
    for (const key of this.#open.keys()) if (key.startsWith(`${session} `)) this.#open.delete(key);
    const { lsid, txnNumber } = required(command);
    const transaction = new Transaction(lsid, txnNumber, command.get('readConcern'));
    this.#open.set(keyOf(command).join(' '), transaction);
    return transaction;
  }

  /** Errors: NoSuchTransaction (251). */
  find(command: Command): Transaction {
    const found = this.#open.get(keyOf(command).join(' '));
    if (found !== undefined) return found;
    const message = `cannot continue txnId ${keyOf(command)[1]} for session with txnRetryCounter 0`;
    throw new RouterError(251, 'NoSuchTransaction', message, { errorLabels: ['TransientTransactionError'] });
  }

  /** Ends a transaction whose statement failed, or which is given up. */
  async abort(command: Command): Promise<void> {
    const key = keyOf(command).join(' ');
    const found = this.#open.get(key);
    this.#open.delete(key);
    if (found !== undefined) await abort(this.#backend, found);
  }

  /**
   * After an answer that routing was stale: shards that this statement was the first to ask begin anew, so that it can be
   * sent again. False: the statement asked only shards that had taken part before, and the transaction is lost.
   */
  async restart(transaction: Transaction, before: ReadonlySet<string>): Promise<boolean> {
    const added = [...transaction.participants.keys()].filter((shard) => !before.has(shard));
    if (added.length === 0) return false;
    await abort(this.#backend, transaction, added);
    for (const shard of added) transaction.participants.delete(shard);
    return true;
  }
}

/** Session and number. */
function keyOf(command: Command): [session: string, number: string] {
  const { lsid, txnNumber } = required(command);
  const id = fieldsOf(lsid.bytes).get('id')?.bytes ?? Buffer.alloc(0);
  return [id.toString('hex'), String(bigintOf(txnNumber))];
}

function required(command: Command): { lsid: RawValue; txnNumber: RawValue } {
  const [lsid, txnNumber] = [command.get('lsid'), command.get('txnNumber')];
  if (lsid === undefined || txnNumber === undefined) {
    throw new RouterError(72, 'InvalidOptions', 'Transaction statements need a session and a transaction number');
  }
  return { lsid, txnNumber };
}
