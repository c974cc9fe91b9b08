/** The primary of a simulated replica set: what commands see of its state, and what they wait for. */
import { Int32, Timestamp } from 'mongodb';
import type { FakeCatalog } from './catalog.js';
import type { Chaos } from './chaos.js';
import { Codes, serverError } from './errors.js';
import { IndexBuilds } from './index-builds.js';
import { timeOf, timestampOf } from './oplog.js';
import type { OpenCursor } from './read-commands.js';
import { type Doc, numberOf, type Request } from './request.js';
import type { ServerState, Transaction } from './server-state.js';
import { FakeCollection, type Spec } from './storage.js';
import { describe } from './stream-events.js';
import type { Owner, Timer, World } from './world.js';

/** What a read sees, and as of when. */
export interface View {
  readonly look: <T>(work: () => T) => T;
  readonly time: number;
}

interface Waiter {
  readonly time: number;
  readonly done: (error?: Error) => void;
}

/** Cursors by their ids. */
export class Cursors {
  readonly #open = new Map<number, OpenCursor>();
  #next = 1;

  open(cursor: OpenCursor): number {
    const id = this.#next++;
    this.#open.set(id, cursor);
    return id;
  }

  find(id: number): OpenCursor | undefined {
    return this.#open.get(id);
  }

  close(id: number): void {
    this.#open.get(id)?.close();
    this.#open.delete(id);
  }

  closeAll(): void {
    for (const id of [...this.#open.keys()]) this.close(id);
  }
}

/** Server parameters of one simulated set. */
export interface ServerParts {
  readonly world: World;
  readonly owner: Owner;
  readonly state: ServerState;
  readonly chaos: Chaos;
}

/** The primary. It goes by what the set has; a failover changes that under it. */
export class FakeServer {
  readonly state: ServerState;
  readonly chaos: Chaos;
  readonly cursors = new Cursors();
  readonly builds = new IndexBuilds(this);
  /** A user's transaction is open until then, which a block of writes waits for. */
  transactionUntilMs = 0;
  readonly #parts: ServerParts;
  #waiters: Waiter[] = [];
  #listeners: (() => void)[] = [];

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.state = parts.state;
    this.chaos = parts.chaos;
  }

  get catalog(): FakeCatalog {
    return this.state.catalog;
  }

  get nowMs(): number {
    return this.#parts.world.nowMs;
  }

  timestamp(time: number): Timestamp {
    return timestampOf(time);
  }

  /** Has `run` called later, for this server. */
  after(ms: number, run: () => void): Timer {
    return this.#parts.world.after(ms, run, this.#parts.owner);
  }

  /** What a read with this concern sees; waits for what it must see. */
  async view(readConcern: Doc | undefined): Promise<View> {
    const { oplog } = this.state;
    const level = readConcern?.['level'] ?? 'local';
    const after = readConcern?.['afterClusterTime'];
    if (after instanceof Timestamp) await this.majorityHas(timeOf(after));
    const at = readConcern?.['atClusterTime'];
    if (level === 'snapshot' && at instanceof Timestamp) {
      const time = timeOf(at);
      await this.majorityHas(time);
      return { look: (work) => oplog.atTime(time, work), time };
    }
    if (level === 'local') return { look: (work) => work(), time: oplog.lastTime };
    return { look: (work) => oplog.atMajority(work), time: oplog.committedTime };
  }

  /** Resolves once a majority has everything up to a time. Errors: a failover's. */
  async majorityHas(time: number): Promise<void> {
    if (this.state.oplog.committedTime >= time) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ time, done: (error) => (error === undefined ? resolve() : reject(error)) });
    });
  }

  /** Resolves when a majority has something new, or after so many milliseconds. */
  async news(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.after(ms, resolve);
      this.#listeners.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** A majority has more than before. */
  advanced(): void {
    const { committedTime } = this.state.oplog;
    const ready = this.#waiters.filter(({ time }) => time <= committedTime);
    this.#waiters = this.#waiters.filter(({ time }) => time > committedTime);
    for (const { done } of ready) done();
    this.#wake();
  }

  /** Ends a cursor, and what waits for more of it. */
  closeCursor(id: number): void {
    this.cursors.close(id);
    this.#wake();
  }

  /**
   * Ends all cursors: this server is primary no longer. Whatever waits is ended by calling what this returns: at once, or
   * when the server learns of it.
   */
  stepDown(): () => void {
    const waiting = this.#waiters;
    this.#waiters = [];
    this.cursors.closeAll();
    this.#wake();
    return () => {
      const error = serverError(Codes.InterruptedDueToReplStateChange, 'operation was interrupted');
      for (const { done } of waiting) done(error);
    };
  }

  #wake(): void {
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listen of listeners) listen();
  }

  /** Errors: 371 where users' writes are blocked, and this one may not pass. */
  assertUnblocked(request: Request): void {
    if (!this.letsWrite(request)) throw serverError(Codes.UserWritesBlocked, 'User writes blocked');
  }

  letsWrite({ command }: Request): boolean {
    return !this.state.modes.isBlocked || command['mayBypassWriteBlocking'] === true;
  }

  refuseTwin(db: string): void {
    const twin = this.catalog.twinOf(db);
    if (twin !== undefined)
      throw serverError(
        Codes.DatabaseDifferCase,
        `db already exists with different case already have: [${twin}] trying to create [${db}]`,
      );
  }

  /** Makes a collection that is not there. */
  createCollection(db: string, name: string, options: Spec, tx: Transaction): FakeCollection {
    this.refuseTwin(db);
    const kept = new Map(options);
    // 6.0 rounds capped sizes up.
    const size = kept.get('size');
    if (size !== undefined && numberOf(size) % 256 !== 0)
      kept.set('size', new Int32(Math.ceil(numberOf(size) / 256) * 256));
    const collection = new FakeCollection(db, name, this.state.uuid(), kept);
    tx.did(this.catalog.put(db, name, collection), {
      operationType: 'create',
      ns: { db, coll: name },
      uuid: collection.uuid,
      description: describe([...kept, ['idIndex', ID_INDEX]]),
    });
    return collection;
  }

  /** A number of a collection's options; 0 when it is not there. */
  numberOption(collection: FakeCollection, name: string): number {
    const value = collection.options.get(name);
    return value === undefined ? 0 : numberOf(value);
  }
}

const ID_INDEX = new Map<string, unknown>([
  ['v', new Int32(2)],
  ['key', new Map([['_id', new Int32(1)]])],
  ['name', '_id_'],
]);
