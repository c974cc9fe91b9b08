/** The servers behind the router: who they are, and what they are told beside the command itself. */
import type { Binary } from 'mongodb';
import { isStale, RouterError, ShardError } from './errors.js';
import type { Sequence } from './messages.js';
import { type Doc, doc, type Encodable, type Fields, fieldsOf, isTrue, RawValue } from './raw-values.js';
import { ShardPool } from './shard-pool.js';
import { VectorClock } from './vector-clock.js';

/** The name under which the config servers are addressed. */
export const CONFIG = 'config';

/** For what is sent to config servers and primaries that coordinate DDL: they refuse anything less. */
export const MAJORITY = doc({ w: 'majority', wtimeout: 60_000 });

/** Whom a command is sent for. A shard must be told, or it would take everything as asked by the cluster itself. */
export interface Identity {
  /** `{user, db}` of each; empty without access control. */
  readonly users: readonly Encodable[];
  readonly roles: readonly Encodable[];
  /** Whether a write block lets the user pass. */
  readonly mayBypassWriteBlocking: boolean;
  /** Digest of the user's name, part of a session's id on the shards. */
  readonly uid: Binary | undefined;
}

export const NOBODY: Identity = { users: [], roles: [], mayBypassWriteBlocking: false, uid: undefined };

/** One command for one shard. */
export interface ShardRequest {
  readonly shard: string;
  readonly db: string;
  readonly body: Doc;
  readonly sequence?: Sequence | undefined;
}

/** One shard's answer. */
export interface ShardAnswer {
  readonly shard: string;
  readonly answer: Map<string, RawValue>;
}

/** Where the cluster is. */
export interface BackendOptions {
  /** `set/host:port` of the config servers. */
  readonly configdb: string;
  /** Content of the key file without white space; undefined without access control. */
  readonly key: string | undefined;
  /** How long a server that is down is waited for; 0: not at all. */
  readonly hostWaitMs: number;
  /** Is given every command and answer, for a trace. */
  readonly trace?: ((line: () => string) => void) | undefined;
}

/** Sends commands to config servers and shards. */
export class Backend {
  readonly configSet: string;
  readonly configHost: string;
  readonly authenticated: boolean;
  readonly clock = new VectorClock();
  readonly #pool: ShardPool;
  readonly #trace: BackendOptions['trace'];
  #hosts: ReadonlyMap<string, string> = new Map();
  /** Reads the list of shards anew, when one is not known: it may have been added through another router. */
  #lookUpShards: () => Promise<void> = async () => undefined;

  constructor({ configdb, key, hostWaitMs, trace }: BackendOptions) {
    const [set = '', hosts = ''] = configdb.split('/');
    this.configSet = set;
    this.configHost = hosts.split(',')[0] ?? '';
    this.authenticated = key !== undefined;
    this.#pool = new ShardPool({ key, hostWaitMs });
    this.#trace = trace;
  }

  /** Names of all shards, sorted. */
  get shards(): readonly string[] {
    return [...this.#hosts.keys()].sort();
  }

  /** Takes the list of shards: `host:port` by name. */
  setHosts(hosts: ReadonlyMap<string, string>): void {
    this.#hosts = hosts;
  }

  /** Names what reads the list of shards anew. */
  onUnknownShard(lookUp: () => Promise<void>): void {
    this.#lookUpShards = lookUp;
  }

  /** `host:port`. Errors: ShardNotFound (70). */
  hostOf(shard: string): string {
    const host = shard === CONFIG ? this.configHost : this.#hosts.get(shard);
    if (host === undefined) throw new RouterError(70, 'ShardNotFound', `Shard ${shard} not found`);
    return host;
  }

  /** `set/host:port`, as `getShardMap` and `raw` answers name a shard. A shard's set has its name. */
  connectionString(shard: string): string {
    return `${shard === CONFIG ? this.configSet : shard}/${this.hostOf(shard)}`;
  }

  /** Resolves with the answer, of success or failure. Errors: HostUnreachable (6), ShardNotFound (70). */
  async call({ shard, db, body, sequence }: ShardRequest, identity = NOBODY): Promise<Map<string, RawValue>> {
    const stamped = this.#stamped(db, body, identity);
    this.#trace?.(() => `-> ${shard} ${JSON.stringify([...stamped.keys()])}`);
    if (shard !== CONFIG && !this.#hosts.has(shard)) await this.#lookUpShards();
    const answer = await this.#pool.call(this.hostOf(shard), stamped, sequence);
    this.clock.learn(answer);
    return answer;
  }

  /** As {@link call}. Errors: also {@link ShardError}. */
  async callOk(request: ShardRequest, identity = NOBODY): Promise<Map<string, RawValue>> {
    const answer = await this.call(request, identity);
    if (!isTrue(answer.get('ok'))) throw new ShardError(answer, request.shard);
    return answer;
  }

  /** Sends all at once and resolves with the answers in order, once all have come. */
  async callAll(requests: readonly ShardRequest[], identity = NOBODY): Promise<ShardAnswer[]> {
    const settled = await Promise.allSettled(
      requests.map(async (request) => ({ shard: request.shard, answer: await this.call(request, identity) })),
    );
    return settled.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    });
  }

  close(): void {
    this.#pool.close();
  }

  #stamped(db: string, body: Doc, { users, roles, mayBypassWriteBlocking, uid }: Identity): Doc {
    const stamped = doc(body, { $db: db });
    this.clock.stamp(stamped);
    stamped.set('mayBypassWriteBlocking', mayBypassWriteBlocking);
    if (users.length > 0) stamped.set('$audit', { $impersonatedUsers: users, $impersonatedRoles: roles });
    const session = stamped.get('lsid');
    if (session instanceof RawValue && uid !== undefined) stamped.set('lsid', doc(fieldsOf(session.bytes), { uid }));
    return stamped;
  }
}

/** Throws the first failure among answers, that of a stale router before any other. */
export function requireOk(answers: readonly ShardAnswer[]): void {
  const failed = answers.filter(({ answer }) => !isTrue(answer.get('ok')));
  const errors = failed.map(({ shard, answer }) => new ShardError(answer, shard));
  const first = errors.find(({ code }) => isStale(code)) ?? errors[0];
  if (first !== undefined) throw first;
}

/** The value of an answer's field. Errors: a plain Error where a server left it out. */
export function required(answer: Fields, name: string): RawValue {
  const value = answer.get(name);
  if (value === undefined) throw new Error(`a server's answer has no ${name}`);
  return value;
}
