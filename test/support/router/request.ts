/** One command of a client on its way through the router: what it carries to each shard, and how it is tried again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Double } from 'mongodb';
import type { Backend, Identity, ShardAnswer } from './backend.js';
import { type Catalog, databaseOf, isConfigDatabase } from './catalog.js';
import type { Command } from './command.js';
import type { CursorStore } from './cursor-store.js';
import { DatabaseGone, isStale, ShardError } from './errors.js';
import type { FailCommand } from './fail-command.js';
import type { Sequence } from './messages.js';
import type { Privilege } from './privileges.js';
import { type Doc, doc, type Encodable, type Fields, isTrue, type Part, type RawValue } from './raw-values.js';
import { type RoutingTable, UNSHARDED } from './routing-table.js';
import type { ShardConnection } from './shard-connection.js';
import type { Transaction, Transactions } from './transactions.js';
import { latest } from './vector-clock.js';

/** What all commands of a router share. */
export interface RouterParts {
  readonly backend: Backend;
  readonly catalog: Catalog;
  readonly cursors: CursorStore;
  readonly transactions: Transactions;
  readonly failCommand: FailCommand;
  /** How often each command ran, was refused as unknown (`refused <name>`), and how often routing was `stale`. */
  readonly counters: Map<string, number>;
  readonly startedAt: number;
}

/** A client's connection. */
export interface ClientConnection {
  readonly number: number;
  /** As the client presented itself; undefined before its handshake, or where it gave no name. */
  appName: string | undefined;
  identity: Identity;
  /** Whether a user is logged in. */
  loggedIn: boolean;
  /** What that user may do. */
  privileges: readonly Privilege[];
  /** To the config servers, where the client's own log-in took place. */
  login: ShardConnection | undefined;
}

/** Which concerns a command takes: a member of the cluster must state them, or is refused; and may state no other. */
export type Concerns = 'none' | 'read' | 'write' | 'both';

const IMPLICIT_READ = doc({ level: 'local', provenance: 'implicitDefault' });
const IMPLICIT_WRITE = doc({ w: 'majority', wtimeout: 0, provenance: 'implicitDefault' });
const CARRIED = ['maxTimeMS', '$readPreference', 'comment', 'apiVersion', 'apiStrict', 'apiDeprecationErrors'];
const STALE_TRIES = 10;
const STALE_PAUSE_MS = 20;

/** 1 as the server writes it. */
export const ONE = new Double(1);

/** A client's command with what is needed to carry it out. */
export class Request {
  readonly command: Command;
  readonly client: ClientConnection;
  readonly parts: RouterParts;
  /** Undefined outside of transactions. */
  readonly transaction: Transaction | undefined;

  constructor(
    parts: RouterParts,
    client: ClientConnection,
    { command, transaction }: { readonly command: Command; readonly transaction: Transaction | undefined },
  ) {
    this.parts = parts;
    this.client = client;
    this.command = command;
    this.transaction = transaction;
  }

  get backend(): Backend {
    return this.parts.backend;
  }

  get catalog(): Catalog {
    return this.parts.catalog;
  }

  /** Who asks. Without access control everybody may pass a write block, by saying so. Source: db/write_block_bypass.cpp. */
  get identity(): Identity {
    const { identity } = this.client;
    const asked = this.command.fields.get('mayBypassWriteBlocking');
    return asked === undefined ? identity : { ...identity, mayBypassWriteBlocking: isTrue(asked) };
  }

  /** The same client's request for another command, in the same transaction. */
  for(command: Command): Request {
    return new Request(this.parts, this.client, { command, transaction: this.transaction });
  }

  /** Counts something, for `serverStatus`. */
  count(what: string): void {
    this.parts.counters.set(what, (this.parts.counters.get(what) ?? 0) + 1);
  }

  /** Sends one command for this client. Errors: as the backend's `call`. */
  async call(shard: string, db: string, body: Doc, sequence?: Sequence): Promise<Map<string, RawValue>> {
    return await this.backend.call({ shard, db, body, sequence }, this.identity);
  }

  /** As {@link call}. Errors: also {@link ShardError}. */
  async callOk(shard: string, db: string, body: Doc): Promise<Map<string, RawValue>> {
    return await this.backend.callOk({ shard, db, body }, this.identity);
  }

  /** Sends each of these shards what `bodyFor` gives, all at once. */
  async callAll(shards: readonly string[], db: string, bodyFor: (shard: string) => Doc): Promise<ShardAnswer[]> {
    const requests = shards.map((shard) => ({ shard, db, body: bodyFor(shard) }));
    return await this.backend.callAll(requests, this.identity);
  }

  /** What a command carries to a shard besides its own fields: session, transaction, concerns, time limit. */
  envelope(shard: string, concerns: Concerns): Doc {
    const { command, transaction } = this;
    const carried = command.some(...CARRIED);
    const session = command.some('lsid');
    if (transaction !== undefined) return doc(session, transaction.statement(shard), carried);
    return doc(session, command.some('txnNumber'), this.concerns(concerns), carried);
  }

  /** The concerns alone. */
  concerns(concerns: Concerns): Doc {
    const { command } = this;
    const reads = concerns === 'read' || concerns === 'both';
    const writes = concerns === 'write' || concerns === 'both';
    return doc({
      readConcern: reads ? (nonEmpty(command.get('readConcern')) ?? IMPLICIT_READ) : undefined,
      writeConcern: writes ? (nonEmpty(command.get('writeConcern')) ?? IMPLICIT_WRITE) : undefined,
    });
  }

  /** What tells a shard which chunks, or which place of a database, the router counts on. */
  async version(ns: string, table: RoutingTable | false, shard: string): Promise<Doc> {
    if (table) return doc({ shardVersion: table.version(shard) });
    const db = databaseOf(ns);
    if (isConfigDatabase(db)) return doc();
    const entry = await this.catalog.database(db);
    if (entry === undefined) throw new DatabaseGone();
    return doc({ shardVersion: UNSHARDED, databaseVersion: entry.version });
  }

  /** For a command on one collection: its chunks (false: unsharded) and its database's primary shard. */
  async route(ns: string): Promise<{ table: RoutingTable | false; home: string }> {
    const table = await this.catalog.collection(ns);
    const home = await this.catalog.home(databaseOf(ns));
    if (home === undefined) throw new DatabaseGone();
    return { table, home };
  }

  /** Runs `work`, and again with fresh knowledge as long as a shard says that the router's is stale. */
  async retryStale<T>(ns: string, work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      const before = new Set(this.transaction?.participants.keys());
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof ShardError) || !isStale(error.code) || tries === STALE_TRIES) throw error;
        if (!(await this.restart(before))) throw error;
        this.count('stale');
        this.catalog.forget(ns);
        await sleep(STALE_PAUSE_MS * (tries - 1));
      }
    }
  }

  /** Whether the statement may be sent again: outside of transactions always. `before`: who took part before it. */
  async restart(before: ReadonlySet<string>): Promise<boolean> {
    const { transaction } = this;
    return transaction === undefined || (await this.parts.transactions.restart(transaction, before));
  }
}

function nonEmpty(value: RawValue | undefined): RawValue | undefined {
  return value !== undefined && value.bytes.length > 5 ? value : undefined;
}

/** An answer with the latest operation time of those it is made of. */
export function answered(answer: Part, ...from: readonly Fields[]): Doc {
  const times = from.map((each) => each.get('operationTime'));
  return doc(answer, { operationTime: latest(times) ?? operationTimeOf(answer) });
}

function operationTimeOf(answer: Part): Encodable {
  return answer instanceof Map ? answer.get('operationTime') : undefined;
}

/** `{…, ok: 1}` */
export function okay(fields: Part, ...from: readonly Fields[]): Doc {
  return answered(doc(fields, { ok: ONE }), ...from);
}

/** What carries a command out. */
export type Handler = (request: Request) => Promise<Doc>;
