/** Carries out insert, update and delete: splits a batch by shards and puts the answers together. */
import type { ShardAnswer, ShardRequest } from './backend.js';
import { isConfigDatabase } from './catalog.js';
import type { Command } from './command.js';
import { isRetryableWrite, isStale, RouterError, ShardError } from './errors.js';
import { moveDocument, WOULD_CHANGE_OWNING_SHARD } from './key-moves.js';
import {
  type Doc,
  doc,
  type Fields,
  fieldsOf,
  isTrue,
  itemsOf,
  numberOf,
  type RawValue,
  rawValue,
} from './raw-values.js';
import { refused } from './refusals.js';
import { answered, ONE, okay, type Request } from './request.js';
import { IGNORED, type RoutingTable } from './routing-table.js';
import { hasFlag, isMulti, targetWrite, type WriteKind } from './write-targets.js';

const STATEMENTS: Readonly<Record<WriteKind, string>> = { insert: 'documents', update: 'updates', delete: 'deletes' };
const ROUNDS = 20;
/** Of statements sent at once: what a shard is told besides them must find room in a message, too. */
const ROUND_BYTES = 16 * 1024 * 1024;
const DUPLICATE_KEY = 11000;

/** The handler of the three write commands. */
export async function write(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const kind = command.name as WriteKind;
  const statements = command.documents(STATEMENTS[kind]);
  if (!isConfigDatabase(command.db) && (await catalog.database(command.db)) === undefined) {
    const creates = kind === 'insert' || statements.some((each) => hasFlag(each, 'upsert'));
    if (!creates) return okay({ n: 0, nModified: kind === 'update' ? 0 : undefined });
    await catalog.createDatabase(command.db);
  }
  return await new Batch(request, kind, statements).run();
}

/** Statements (by index) that go to the same shards. */
interface Group {
  readonly shards: readonly string[];
  readonly indexes: readonly number[];
}

/** One write command on its way to the shards. */
class Batch {
  readonly #request: Request;
  readonly #command: Command;
  readonly #kind: WriteKind;
  readonly #statements: readonly Buffer[];
  readonly #ordered: boolean;
  readonly #statementIds: readonly RawValue[];
  readonly #errors: Doc[] = [];
  readonly #upserted: Doc[] = [];
  readonly #answers: Fields[] = [];
  #table: RoutingTable | false = false;
  #pending: number[];
  #n = 0;
  #modified = 0;
  #writeConcernError: RawValue | undefined;
  #stopped = false;

  constructor(request: Request, kind: WriteKind, statements: readonly Buffer[]) {
    this.#request = request;
    this.#command = request.command;
    this.#kind = kind;
    this.#statements = statements;
    this.#ordered = !request.command.has('ordered') || request.command.flag('ordered');
    this.#statementIds = statementIds(request.command, statements.length);
    this.#pending = [...statements.keys()];
  }

  async run(): Promise<Doc> {
    const { ns } = this.#command;
    for (let staleRounds = 0; this.#pending.length > 0 && !this.#stopped; ) {
      this.#table = await this.#request.catalog.collection(ns);
      const groups = await this.#nextGroups();
      const before = new Set(this.#request.transaction?.participants.keys());
      const again = await this.#sendAll(groups);
      if (again.length > 0) {
        await this.#refresh(before);
        staleRounds += 1;
        if (staleRounds > ROUNDS) throw noProgress(ns);
      }
      this.#pending = [...again.sort((a, b) => a - b), ...this.#pending];
    }
    return this.#answer();
  }

  /** Takes from what is pending as much as can be sent at once: with `ordered`, a run of statements for one shard. */
  async #nextGroups(): Promise<Group[]> {
    const table = this.#table;
    if (table === false) {
      const { home } = await this.#request.route(this.#command.ns);
      const indexes = this.#withinBytes(this.#pending);
      this.#pending = this.#pending.slice(indexes.length);
      return [{ shards: [home], indexes }];
    }
    const groups = new Map<string, { shards: readonly string[]; indexes: number[] }>();
    let taken = 0;
    for (const index of this.#withinBytes(this.#pending)) {
      const shards = this.#target(table, index, groups.size > 0);
      if (shards === 'wait') break;
      const key = shards === undefined ? '' : this.#groupKey(shards, index);
      if (shards !== undefined && this.#ordered && groups.size > 0 && (!groups.has(key) || shards.length > 1)) break;
      taken += 1;
      if (shards === undefined) {
        if (this.#stopped) break;
        continue;
      }
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { shards, indexes: [index] });
      else group.indexes.push(index);
    }
    this.#pending = this.#pending.slice(taken);
    return [...groups.values()];
  }

  /** Statements for several shards are kept apart by whether they are multi: their versions differ. */
  #groupKey(shards: readonly string[], index: number): string {
    const [only] = shards;
    if (only !== undefined && shards.length === 1) return only;
    return `${shards.join(' ')} ${isMulti(fieldsOf(this.#statements[index] as Buffer))}`;
  }

  /** As many of them as may be sent at once. */
  #withinBytes(indexes: readonly number[]): readonly number[] {
    let bytes = 0;
    const end = indexes.findIndex((index) => {
      const isFull = bytes > ROUND_BYTES;
      bytes += this.#statements[index]?.length ?? 0;
      return isFull;
    });
    return end < 0 ? indexes : indexes.slice(0, end);
  }

  /** Undefined: refused, and noted as an error. `wait`: refused, but what stands before it is to be sent first. */
  #target(table: RoutingTable, index: number, hasGroups: boolean): readonly string[] | undefined | 'wait' {
    try {
      const all = this.#request.backend.shards;
      return targetWrite(this.#kind, this.#statements[index] as Buffer, { table, all });
    } catch (error) {
      if (!(error instanceof RouterError)) throw error;
      if (this.#ordered && hasGroups) return 'wait';
      this.#errors.push(doc({ index, code: error.code, errmsg: error.message }));
      this.#stopped ||= this.#ordered;
      return undefined;
    }
  }

  /** Sends groups, at once where the order does not matter; resolves with the statements to be sent again. */
  async #sendAll(groups: readonly Group[]): Promise<number[]> {
    if (!this.#ordered && this.#request.transaction === undefined) {
      return (await Promise.all(groups.map((group) => this.#send(group)))).flat();
    }
    const again: number[] = [];
    for (const group of groups) again.push(...(await this.#send(group)));
    return again;
  }

  async #send(group: Group): Promise<number[]> {
    const requests: ShardRequest[] = [];
    for (const shard of group.shards) requests.push(await this.#shardRequest(group, shard));
    const answers = await this.#request.backend.callAll(requests, this.#request.identity);
    const stale = new Set<number>();
    for (const answer of answers) for (const each of await this.#take(answer, group)) stale.add(each);
    return [...stale].map((position) => group.indexes[position] as number);
  }

  async #shardRequest({ shards, indexes }: Group, shard: string): Promise<ShardRequest> {
    const request = this.#request;
    const name = STATEMENTS[this.#kind];
    const documents = indexes.map((index) => this.#statements[index] as Buffer);
    const version = this.#ignoresVersion(shards, documents)
      ? doc({ shardVersion: IGNORED })
      : await request.version(this.#command.ns, this.#table, shard);
    const retryable = this.#command.has('txnNumber') && request.transaction === undefined;
    const stmtIds = retryable ? indexes.map((index) => this.#statementIds[index] as RawValue) : undefined;
    const options = doc({ ordered: this.#ordered }, version, request.envelope(shard, 'write'), { stmtIds });
    return { shard, db: this.#command.db, body: doc(this.#command.body(name), options), sequence: { name, documents } };
  }

  #ignoresVersion(shards: readonly string[], [first]: readonly Buffer[]): boolean {
    if (shards.length < 2 || this.#kind === 'insert' || this.#request.transaction !== undefined) return false;
    return first !== undefined && isMulti(fieldsOf(first));
  }

  /** Takes one shard's answer; gives the positions in the group that must be sent again. */
  async #take({ shard, answer }: ShardAnswer, group: Group): Promise<number[]> {
    this.#answers.push(answer);
    if (!isTrue(answer.get('ok'))) return await this.#takeFailure(shard, answer, group);
    const n = numberOf(answer.get('n')) ?? 0;
    this.#n += n;
    this.#modified += numberOf(answer.get('nModified')) ?? 0;
    if (n > 0) this.#request.transaction?.wrote(shard);
    for (const each of itemsOf(answer.get('upserted'))) this.#upserted.push(reindexed(each, group.indexes));
    this.#writeConcernError = answer.get('writeConcernError') ?? this.#writeConcernError;
    const stale: number[] = [];
    for (const each of itemsOf(answer.get('writeErrors'))) {
      const fields = fieldsOf(each.bytes);
      if (isStale(numberOf(fields.get('code')) ?? 0)) {
        const position = numberOf(fields.get('index')) ?? 0;
        const last = this.#ordered ? group.indexes.length - 1 : position;
        for (let next = position; next <= last; next += 1) stale.push(next);
      } else {
        this.#errors.push(reindexed(each, group.indexes));
        this.#stopped ||= this.#ordered;
      }
    }
    return stale;
  }

  async #takeFailure(shard: string, answer: Fields, group: Group): Promise<number[]> {
    const error = new ShardError(answer, shard);
    if (isStale(error.code)) return [...group.indexes.keys()];
    if (error.code === WOULD_CHANGE_OWNING_SHARD) {
      await this.#move(shard, answer, group);
      return [];
    }
    if (this.#request.transaction !== undefined) throw error;
    if (answer.has('errorLabels') || isRetryableWrite(error.code)) throw error;
    const errInfo = answer.get('errInfo');
    for (const index of this.#ordered ? group.indexes.slice(0, 1) : group.indexes) {
      this.#errors.push(doc({ index, code: error.code, errmsg: error.message, errInfo }));
    }
    this.#stopped ||= this.#ordered;
    return [];
  }

  /** The statement gives its document a key of another shard. */
  async #move(shard: string, answer: Fields, { indexes: [index = 0] }: Group): Promise<void> {
    if (this.#statements.length > 1) {
      const { code, message } = refused('keyMoveInBatch');
      this.#errors.push(doc({ index, code, errmsg: message }));
      this.#stopped ||= this.#ordered;
      return;
    }
    const { db, collection } = this.#command;
    try {
      const move = { ns: { db, collection }, table: this.#table as RoutingTable, shard, answer };
      const { upsertedId, operationTime } = await moveDocument(this.#request, move);
      this.#n += 1;
      if (upsertedId === undefined) this.#modified += 1;
      else this.#upserted.push(doc({ index: 0, _id: upsertedId }));
      this.#answers.push(new Map([...operationTime].map(([name, value]) => [name, rawValue(value)])));
    } catch (error) {
      if (!(error instanceof ShardError) || error.code !== DUPLICATE_KEY || this.#request.transaction) throw error;
      const { answer: failed } = error;
      const keys = { keyPattern: failed.get('keyPattern'), keyValue: failed.get('keyValue') };
      this.#errors.push(doc({ index, code: error.code, errmsg: error.message }, keys));
    }
  }

  /** Errors: SnapshotUnavailable (246) where a transaction cannot go on. */
  async #refresh(before: ReadonlySet<string>): Promise<void> {
    this.#request.count('stale');
    this.#request.catalog.forget(this.#command.ns);
    if (await this.#request.restart(before)) return;
    const labels = { errorLabels: ['TransientTransactionError'] };
    throw new RouterError(246, 'SnapshotUnavailable', 'stale routing in a transaction', labels);
  }

  #answer(): Doc {
    const sorted = this.#errors.sort((a, b) => Number(indexOf(a)) - Number(indexOf(b)));
    const fields = doc({
      n: this.#n,
      nModified: this.#kind === 'update' ? this.#modified : undefined,
      upserted: this.#upserted.length > 0 ? this.#upserted : undefined,
      writeErrors: sorted.length > 0 ? sorted : undefined,
      writeConcernError: this.#writeConcernError,
      ok: ONE,
    });
    return answered(fields, ...this.#answers);
  }
}

/** The statements' numbers for retryable writes: given, or counted on from the first. */
function statementIds(command: Command, count: number): RawValue[] {
  const given = itemsOf(command.get('stmtIds'));
  if (given.length > 0) return given;
  return Array.from({ length: count }, (_, index) => rawValue(command.number('stmtId') + index));
}

/** An entry of a shard's answer, with the statement's index in the client's command. */
function reindexed(entry: RawValue, indexes: readonly number[]): Doc {
  const fields = fieldsOf(entry.bytes);
  const position = numberOf(fields.get('index')) ?? 0;
  return doc(fields, { index: indexes[position] ?? position });
}

function indexOf(entry: Doc): number {
  const index = entry.get('index');
  return typeof index === 'number' ? index : 0;
}

function noProgress(ns: string): RouterError {
  const message = `no progress was made executing batch write op in ${ns} after ${ROUNDS} rounds`;
  return new RouterError(82, 'NoProgressMade', message);
}
