/** A simulated replica set: its members, its connections, its elections; commands reach its primary over the network. */
import { ObjectId } from 'mongodb';
import type { Random } from '../support/workload-random.js';
import { Chaos, type ChaosLevels } from './chaos.js';
import { CommandTable, isWrite, notPrimary, type SetFacts } from './commands.js';
import { Codes, networkError, serverError } from './errors.js';
import type { OplogEntry } from './oplog.js';
import { documentsIn, fromRaw } from './raw.js';
import type { Answer, Doc, Request } from './request.js';
import { FakeServer } from './server.js';
import { ServerState } from './server-state.js';
import { Owner, SimulationError, type Tell, type World } from './world.js';

/** A connection as the server sees it. */
export interface Connection {
  readonly id: number;
  /** What its client calls itself. */
  readonly platform: string;
  /** Of the primary that it leads to: with that one's term it ends, and with all that is on its way. */
  readonly term: number;
  /** The command that runs on it. */
  running: { readonly request: Request; readonly opid: number; readonly kill: (error: Error) => void } | undefined;
  /** The client has given it up; it ends with what is still on its way. */
  isAbandoned: boolean;
  /** Commands of it that have not arrived yet. */
  onTheWay: number;
}

/** Told of a primary's address, and that there is none. */
export type PrimaryListener = (address: string | undefined) => void;

/** What a simulated set is made of. */
export interface DeploymentParts {
  readonly name: string;
  readonly world: World;
  readonly random: Random;
  readonly levels: ChaosLevels;
  readonly tell: Tell;
  /** Whether every command is told. */
  readonly tellsCommands: boolean;
}

/** A primary that has been replaced and does not know. */
interface StalePrimary {
  readonly address: string;
  readonly term: number;
  /** What it has in common with the new one, and what it has alone. */
  readonly length: number;
  readonly tail: readonly OplogEntry[];
  /** Those who will get no answer. */
  readonly waiting: ((error: Error) => void)[];
}

const DISCOVERY_MS = 600;
const STALE_ANSWERS = new Set([
  'hello',
  'ping',
  'listCollections',
  'listIndexes',
  'listDatabases',
  'count',
  'serverStatus',
]);

function factsOf({ setId, hosts, address, term }: SetFacts): SetFacts {
  return { setId, hosts, address, term, operations: () => [], kill: () => undefined };
}

/** Two members, of which one is primary. */
export class FakeDeployment implements SetFacts {
  readonly name: string;
  readonly world: World;
  readonly owner: Owner;
  readonly random: Random;
  readonly chaos: Chaos;
  readonly state: ServerState;
  readonly server: FakeServer;
  readonly setId: ObjectId;
  readonly hosts: readonly string[];
  term = 1;
  /** Within which time a client hears of a new primary. */
  discoveryMs = DISCOVERY_MS;
  readonly #commands: CommandTable;
  readonly #connections = new Map<number, Connection>();
  readonly #listeners = new Set<PrimaryListener>();
  readonly #tell: Tell;
  readonly #tellsCommands: boolean;
  #hasPrimary = true;
  #stale: StalePrimary | undefined;
  #nextId = 1;
  /** Nothing is replicated before. */
  #replicationStalledUntilMs = 0;

  constructor({ name, world, random, levels, tell, tellsCommands }: DeploymentParts) {
    this.#tellsCommands = tellsCommands;
    this.name = name;
    this.world = world;
    this.random = random;
    this.#tell = (what, kind) => tell(() => `${name}: ${typeof what === 'string' ? what : what()}`, kind);
    this.owner = new Owner(name);
    this.chaos = new Chaos(random, levels, this.#tell);
    this.state = new ServerState(world, random);
    this.server = new FakeServer({ world, owner: this.owner, state: this.state, chaos: this.chaos });
    this.setId = new ObjectId(Buffer.from(name.padEnd(12, '0').slice(0, 12), 'latin1'));
    this.hosts = [`${name}-a:27017`, `${name}-b:27017`];
    this.#commands = new CommandTable(this.server);
    this.state.onEntry = (time) => this.#replicate(time);
    this.state.note();
    this.state.oplog.commit(this.state.oplog.lastTime);
  }

  get address(): string {
    return this.hosts[this.term % 2] as string;
  }

  /** Undefined: there is none at the moment. */
  get primary(): string | undefined {
    return this.#hasPrimary ? this.address : undefined;
  }

  /** One that does not know that it is none any more. */
  get stalePrimary(): string | undefined {
    return this.#stale?.address;
  }

  onPrimary(listener: PrimaryListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  connect(platform: string): Connection {
    const { term } = this;
    const connection = { id: this.#nextId++, platform, term, running: undefined, isAbandoned: false, onTheWay: 0 };
    this.#connections.set(connection.id, connection);
    return connection;
  }

  /** The client uses it no more. */
  abandon(connection: Connection): void {
    connection.isAbandoned = true;
    this.#endIfIdle(connection);
  }

  /** A command arrives. Resolves with its answer; errors: the server's, or networkError when the server goes away. */
  async deliver(connection: Connection, request: Request, address: string): Promise<Answer> {
    connection.onTheWay--;
    try {
      if (address !== this.primary && address === this.#stale?.address) return await this.#answerStale(request);
      if (address !== this.primary) throw notPrimary();
      if (connection.term !== this.term) throw networkError('connection closed');
      return await this.#run(connection, request);
    } finally {
      this.#endIfIdle(connection);
    }
  }

  #run(connection: Connection, request: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        connection.running = undefined;
      };
      const kill = (error: Error): void => {
        end();
        reject(error);
      };
      connection.running = { request, opid: this.#nextId++, kill };
      const running = this.#commands.run(request, this);
      if (this.#tellsCommands) this.#tellAnswer(request, running);
      running.then(
        (answer) => {
          end();
          resolve(answer);
        },
        (error: unknown) => {
          this.#mustBeAnswer(error);
          end();
          reject(error);
        },
      );
    });
  }

  #tellAnswer(request: Request, running: Promise<Answer>): void {
    const asked = commandText(request);
    running.then(
      ({ reply }) => this.#tell(`${asked} → ${commandText(reply)}`),
      (error: unknown) => this.#tell(`${asked} → ${String(error)}`),
    );
  }

  /** What is no answer of a server's is a fault of the simulation. */
  #mustBeAnswer(error: unknown): void {
    const isAnswer = error instanceof Error && 'errorResponse' in error;
    if (!isAnswer)
      this.world.fail(error instanceof SimulationError ? error : new SimulationError(String(error), { cause: error }));
  }

  #endIfIdle(connection: Connection): void {
    if (connection.isAbandoned && connection.onTheWay === 0 && connection.running === undefined)
      this.#connections.delete(connection.id);
  }

  operations(): Doc[] {
    const own = [...this.#connections.values()].filter(({ term }) => term === this.term);
    return own.map(({ id, platform, running }) => ({
      connectionId: id,
      platform,
      active: running !== undefined,
      ...(running === undefined
        ? {}
        : {
            opid: running.opid,
            op: OPERATIONS.get(running.request.name) ?? 'command',
            command: { [running.request.name]: running.request.target },
          }),
    }));
  }

  kill(opid: number): void {
    const found = [...this.#connections.values()].find(({ running }) => running?.opid === opid);
    found?.running?.kill(serverError(Codes.Interrupted, 'operation was interrupted'));
  }

  /** Replication pauses for so long: a failover in that time loses what nobody else has. */
  stallReplication(ms: number): void {
    this.#tell(`replication stalls for ${Math.round(ms)} ms`, 'replication stalls');
    this.#replicationStalledUntilMs = this.world.nowMs + ms;
  }

  /**
   * The primary goes; another one is elected after `ms`. `staleMs`: it does not know, and goes on answering for so long
   * after the election to those who have not heard of it.
   */
  failOver(ms: number, staleMs = 0): void {
    if (!this.#hasPrimary || this.#stale !== undefined) return;
    const how = staleMs > 0 ? `goes on as one that is none for ${Math.round(staleMs)} ms` : 'goes';
    this.#tell(`the primary ${how}; the next comes in ${Math.round(ms)} ms`);
    this.#hasPrimary = false;
    const end = this.server.stepDown();
    if (staleMs === 0) {
      for (const { running } of this.#connections.values()) running?.kill(networkError('connection closed'));
      end();
      for (const listen of [...this.#listeners]) listen(undefined);
    } else {
      const { length } = this.state.oplog.entries;
      this.#stale = { address: this.address, term: this.term, length, tail: [], waiting: [] };
      this.discoveryMs = staleMs * 1.5;
      this.server.after(ms + staleMs, () => this.#heal(end));
    }
    this.server.after(ms, () => this.#elect());
  }

  /** The old primary learns that it is none, and drops all connections. */
  #heal(end: () => void): void {
    const { waiting } = this.#stale ?? { waiting: [] };
    this.#stale = undefined;
    this.discoveryMs = DISCOVERY_MS;
    this.#tell('the old primary has learned of the new one');
    for (const fail of waiting) fail(networkError('connection closed'));
    end();
  }

  #elect(): void {
    const { oplog } = this.state;
    const lost = oplog.entries.length - oplog.committed;
    const kept = oplog.committed + (lost > 0 ? this.random.int(lost + 1) : 0);
    const tail = oplog.split(kept);
    if (this.#stale !== undefined) this.#stale = { ...this.#stale, length: kept, tail };
    if (tail.length > 0) this.#tell(`${tail.length} entries are rolled back`, 'failovers with rollback');
    if (this.random.chance(0.5)) this.server.builds.abortAll(Codes.InterruptedDueToReplStateChange);
    this.#commands.forgetNumbers();
    this.term++;
    for (const [id, { term }] of this.#connections) if (term < this.term - 1) this.#connections.delete(id);
    this.#hasPrimary = true;
    this.#replicationStalledUntilMs = 0;
    this.state.note();
    this.#tell(`${this.address} is primary`, this.#stale === undefined ? 'failovers' : 'failovers with two primaries');
    for (const listen of [...this.#listeners]) listen(this.address);
  }

  /** Catalog reads are answered by what the old primary has; what needs a majority gets none. */
  #answerStale(request: Request): Promise<Answer> {
    const stale = this.#stale as StalePrimary;
    if (!STALE_ANSWERS.has(request.name)) return new Promise((_, reject) => void stale.waiting.push(reject));
    const facts = { ...factsOf(this), address: stale.address, term: stale.term };
    this.#tell(`the old primary answers ${request.name}`, 'answers of an old primary');
    const { oplog } = this.state;
    const time = (stale.tail.at(-1) ?? oplog.entries[stale.length - 1])?.time;
    const answering = oplog.onBranch(stale.length, stale.tail, () => this.#commands.run(request, facts));
    return answering.then((answer) => ({ ...answer, time }));
  }

  #replicate(time: number): void {
    const { term } = this;
    const stalledMs = Math.max(0, this.#replicationStalledUntilMs - this.world.nowMs);
    this.server.after(stalledMs + this.chaos.replicationMs(), () => {
      // A primary that has gone confirms nothing; the next one's first entry does so for all before it.
      if (!this.#hasPrimary || this.term !== term) return;
      if (this.state.oplog.commit(time)) this.server.advanced();
    });
  }
}

/** For those who look for the cause of something. */
function commandText(value: unknown): string {
  const plain = (_: string, each: unknown): unknown => {
    if (each instanceof Map) return Object.fromEntries(each);
    if (each !== null && typeof each === 'object' && 'chunks' in each)
      return (each.chunks as Buffer[]).slice(1).flatMap(documentsIn).map(fromRaw);
    return each;
  };
  return JSON.stringify(value, plain).slice(0, 600);
}

const OPERATIONS = new Map([
  ['insert', 'insert'],
  ['update', 'update'],
  ['delete', 'remove'],
]);

/** Whether a lost answer to this command may have changed something. */
export function changes({ name }: Request): boolean {
  return isWrite(name);
}
