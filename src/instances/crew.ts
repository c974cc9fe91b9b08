/** Knows the instances that help this one, which coordinates: who lives, what they were called, and what they do. */
import type { Logger } from '../lib/logger.js';
import { plainText } from '../lib/plain-text.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { beat, sleep, unlessAborted } from '../lib/signals.js';
import { awaitAll, readLater } from '../lib/tasks.js';
import { Lease } from '../metadata/lease.js';
import { holdersOf, instanceLease, type LeaseHolder } from '../metadata/lease-record.js';
import { StoredLease } from '../metadata/lease-store.js';
import type { Roles } from '../start/held-migration.js';
import { type Gathered, gather } from './call-round.js';
import { Member, noTotals } from './member.js';
import {
  fromDoc,
  type GatheredEvent,
  INSTANCES,
  type InstanceRecord,
  ORDERS,
  type Orders,
  ordersIn,
  STATUS,
  TASKS,
  type TaskKind,
} from './records.js';
import { type Placing, type Slot, Slots } from './slots.js';
import { TaskBoard, type TaskListener } from './task-board.js';

/** What a crew is told. */
export interface CrewHooks {
  /** After each look at the others. */
  readonly onLook?: () => void;
  /** What progress tells, as plain data: the others show it. */
  readonly status?: () => unknown;
}

/** How often others are looked for, and while this instance neither copies nor compares. */
const ALONE_LOOK_MS = 2000;
const CALM_LOOK_MS = 4000;
/** From the beginning of a run on: a copy or a comparison may be about to begin. */
const CALM_AFTER_MS = 15_000;
/** How often those that there are are looked at, and while they have tasks. */
const LOOK_MS = 500;
const STATUS_MS = 1000;
const WORK_LOOK_MS = 150;
const SETTLE_LOOK_MS = 100;

/**
 * The instances that help, seen from the coordinator. Their leases tell who is registered; each tells how far it is in a
 * document of its own. One that has died is buried: its lease is taken, which makes void what it has sent, and only then
 * are its tasks given to others. Without any other instance this costs one small read every few seconds, and writes nothing.
 *
 * Orders have an epoch. A run begins with a new one, and waits until each instance works under it: whatever an earlier
 * run or an earlier coordinator has ordered has ended then.
 */
export class Crew {
  readonly tasks: TaskBoard;
  readonly #roles: Roles;
  readonly #logger: Logger;
  readonly #hooks: CrewHooks;
  readonly #members = new Map<string, Member>();
  readonly #looks = new SerialQueue();
  readonly #slots = new Slots((kind) => this.#workers(kind));
  readonly #own = noTotals();
  /** What this instance was called, and whether that counts for all. */
  readonly #calls = new Map<GatheredEvent, boolean>();
  #epoch: string | undefined;
  #epochs = 0;
  #round: number | undefined;
  #isRoundTold = true;
  #toldMs = Number.NEGATIVE_INFINITY;
  /** When the last run began: before the first one it may begin at any time. */
  #settledMs = Number.POSITIVE_INFINITY;

  /** Precondition: the lease of `roles` is held. */
  constructor(roles: Roles, logger: Logger, hooks: CrewHooks = {}) {
    this.#roles = roles;
    this.#logger = logger;
    this.#hooks = hooks;
    this.tasks = new TaskBoard(roles.store);
  }

  /** Those that were registered since this instance began to coordinate. */
  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  get living(): readonly Member[] {
    return this.members.filter(({ isAlive }) => isAlive);
  }

  /** What this instance itself has copied and compared. */
  get ownTotals(): Readonly<ReturnType<typeof noTotals>> {
    return this.#own;
  }

  /** Of a member, or of this instance. */
  totalsOf(member: string | undefined): ReturnType<typeof noTotals> {
    return (member === undefined ? undefined : this.#members.get(member)?.totals) ?? this.#own;
  }

  /** Tasks under way at a member, or in this process. */
  tasksOf(member: string | undefined): number {
    return this.#slots.usedBy(member);
  }

  /** Looks after the others until `signal` aborts. What fails for a while is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await beat(this.#lookMs(), signal);
      try {
        await this.look(signal);
        await awaitAll([this.tasks.sweep(signal), this.#tellStatus(signal)]);
        this.#hooks.onLook?.();
      } catch (error) {
        signal.throwIfAborted();
        this.#logger.warn('The other instances could not be looked at', { error });
      }
    }
  }

  /** Learns what the others tell, and buries those that have died. */
  look(signal: AbortSignal): Promise<void> {
    return this.#alone(() => this.#look(signal), signal);
  }

  /**
   * Has the others work under new orders, and resolves once nobody works under earlier ones. Without others nothing is
   * written.
   */
  async settle(signal: AbortSignal): Promise<void> {
    this.#settledMs = performance.now();
    await this.look(signal);
    if (this.living.length === 0) return;
    await this.#alone(() => this.#order(signal), signal);
    while (this.living.some(({ record }) => record?.epoch !== this.#epoch)) {
      await sleep(SETTLE_LOOK_MS, signal);
      await this.look(signal);
    }
  }

  /** Takes all tasks back; resolves once nothing of them can take effect any more, and whoever waits for one knows. */
  async recall(signal: AbortSignal): Promise<void> {
    await this.settle(signal);
    this.tasks.giveUpEarlier(this.#epoch ?? '', 'the coordinator took it back');
  }

  /** The names of those that take tasks of a kind now. */
  takersOf(kind: TaskKind): string[] {
    return this.#workers(kind).map(({ id }) => id);
  }

  /** For a limit of work that others share: how much can be given out, with `own` pieces in this process. */
  room(kind: TaskKind, own: number): number {
    return this.#slots.room(kind, own);
  }

  /** How many tasks are done at a time, with `own` ones in this process. */
  places(kind: TaskKind, own: number): number {
    return this.#workers(kind).reduce((sum, { slots }) => sum + slots, own);
  }

  /** Waits for a place for a task. */
  slot(kind: TaskKind, placing: Placing, signal: AbortSignal): Promise<Slot> {
    return this.#slots.acquire(kind, placing, signal);
  }

  /** Has a member do a task: see TaskBoard.call. */
  call(to: string, kind: TaskKind, task: unknown, listener: TaskListener, signal: AbortSignal): Promise<unknown> {
    return this.tasks.call({ to, kind, epoch: this.#epoch ?? '', task }, listener, signal);
  }

  /** This instance has been given a call. */
  give(event: GatheredEvent, forAll: boolean): void {
    this.#calls.set(event, forAll);
  }

  /** Who has been given a call so far. */
  gathered(event: GatheredEvent): Gathered {
    const round = this.#round ?? 0;
    const calls = [...this.#calls].map(([each, forAll]) => ({ event: each, round, forAll }));
    const others = this.living.map(({ id, record }) => ({ id, calls: record?.calls ?? [] }));
    return gather(event, round, [{ id: this.#roles.instance, calls }, ...others]);
  }

  /** What was called could not be done: it is as if it had not been called here. */
  takeBack(event: GatheredEvent): void {
    this.#calls.delete(event);
  }

  /** Calls were carried out: those given so far count no more. The others learn of it at the next look. */
  nextRound(): void {
    this.#calls.clear();
    this.#round = (this.#round ?? 0) + 1;
    this.#isRoundTold = false;
  }

  #lookMs(): number {
    if (!this.tasks.isIdle) return WORK_LOOK_MS;
    if (this.living.length > 0) return LOOK_MS;
    const isCalm = this.tasksOf(undefined) === 0 && performance.now() - this.#settledMs > CALM_AFTER_MS;
    return isCalm ? CALM_LOOK_MS : ALONE_LOOK_MS;
  }

  /** One look or order at a time. */
  #alone(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    return unlessAborted(this.#looks.run(work), signal);
  }

  #workers(kind: TaskKind): { id: string; slots: number }[] {
    return this.members
      .filter((each) => each.works(this.#epoch) && each.slots(kind) > 0)
      .map((each) => ({ id: each.id, slots: each.slots(kind) }));
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { store, destination } = this.#roles;
    // Beside the leases: an instance that has done its tasks waits for what follows from this look.
    const recordsOf = () => store.readAll(INSTANCES, {}, signal);
    const early = this.living.length === 0 ? undefined : readLater(recordsOf());
    const { helpers } = holdersOf(await store.readLeases(signal));
    const isOther = ({ isHeld, client }: LeaseHolder): boolean => isHeld && client !== destination.clientTag;
    const names = [...helpers].filter(([, holder]) => isOther(holder)).map(([id]) => id);
    this.#roles.lease.expectTaker(names.length > 0);
    if (names.length === 0 && this.living.length === 0) return;
    const known = new Set(names);
    for (const member of this.living) if (!known.has(member.id)) this.#lose(member, `the instance "${member.id}" left`);
    const reading = early ?? readLater(recordsOf());
    await awaitAll([reading, ...names.map((name) => this.#meet(name, signal))]);
    const records = (await reading).map((doc) => fromDoc<InstanceRecord>(doc));
    for (const record of records) if (known.has(record.id)) this.#hear(record, signal);
    if (this.living.length === 0) return;
    if (this.#epoch === undefined) await this.#order(signal);
    else if (!this.#isRoundTold) await this.#putOrders(signal);
  }

  /** One whose process is gone is buried. */
  async #meet(name: string, signal: AbortSignal): Promise<void> {
    let member = this.#members.get(name);
    if (member === undefined) {
      member = new Member(name, this.#leaseOf(name));
      this.#members.set(name, member);
      this.#logger.info(`The instance "${name}" has joined the migration`);
    }
    member.isAlive = true;
    if (!(await member.lease.takeIfFree(signal))) return;
    await member.lease.release();
    this.#lose(member, `the instance "${name}" has ended`);
  }

  #hear(record: InstanceRecord, signal: AbortSignal): void {
    const member = this.#members.get(record.id);
    if (member?.isAlive !== true) return;
    if (member.tell(record)) this.tasks.giveUp(member.id, `the instance "${member.id}" was started again`);
    this.tasks.hear(record, signal);
  }

  #lose(member: Member, text: string): void {
    member.isAlive = false;
    this.#logger.warn(`${text}; the others go on with its work`.replace(/^t/, 'T'));
    this.tasks.giveUp(member.id, text);
  }

  #leaseOf(name: string): Lease {
    const { source, destination, store, instance } = this.#roles;
    const logger = this.#logger.component('lease');
    // Nothing is written under it: it is only taken, so that its holder writes no more.
    const place = { source, destination, db: store.db, sessions: undefined, leaseId: instanceLease(name) };
    return new Lease(new StoredLease({ ...place, instance, logger }), logger);
  }

  /** New orders. What earlier ones have left is removed. */
  async #order(signal: AbortSignal): Promise<void> {
    const { store, lease } = this.#roles;
    const docs = await store.readAll(TASKS, {}, signal);
    this.#round ??= ordersIn(docs)?.round ?? 0;
    this.#epoch = `${lease.term ?? 0}.${++this.#epochs}`;
    const left = docs.map((each) => String(each['_id'])).filter((id) => id !== ORDERS && id !== STATUS);
    await store.deleteDocuments(TASKS, left, signal);
    await this.#putOrders(signal);
  }

  async #putOrders(signal: AbortSignal): Promise<void> {
    const orders: Orders = { epoch: this.#epoch ?? '', round: this.#round ?? 0 };
    await this.#roles.store.putDocuments(TASKS, [{ _id: ORDERS, ...orders }], signal);
    this.#isRoundTold ||= orders.round === this.#round;
  }

  async #tellStatus(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    if (this.living.length === 0 || now - this.#toldMs < STATUS_MS || this.#hooks.status === undefined) return;
    this.#toldMs = now;
    const status = { _id: STATUS, at: new Date(), text: plainText(this.#hooks.status()) };
    await this.#roles.store.putDocuments(TASKS, [status], signal);
  }
}
