/** Helps the instance that coordinates a migration, until this one has to coordinate it itself. */
import { randomUUID } from 'node:crypto';
import type { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { sleep } from '../lib/signals.js';
import { instanceLease } from '../metadata/lease-record.js';
import type { MigrationRecord } from '../metadata/records.js';
import { keepLease, type Roles, rolesOf } from '../start/held-migration.js';
import type { Load } from '../start/load-level.js';
import { CoordinatorWatch } from './coordinator-watch.js';
import { doersOf } from './doers.js';
import {
  fromDoc,
  type GatheredEvent,
  type GivenCall,
  INSTANCES,
  type InstanceRecord,
  ORDERS,
  type Orders,
  ordersIn,
  TASKS,
  type TaskRecord,
  toDoc,
} from './records.js';
import { Workshop } from './workshop.js';

/** What an instance helps with. */
export interface HelperParts {
  readonly source: Cluster;
  readonly destination: Cluster;
  /** The metadata database. */
  readonly db: string;
  /** Its `--id`. */
  readonly instance: string;
  readonly load: Load;
  readonly logger: Logger;
  /** The migration as it was found. */
  readonly record: MigrationRecord;
  /** Whether it does nothing until it is resumed. */
  readonly isPaused: boolean;
  /** Something that progress shows has changed. */
  readonly onChange: () => void;
  /** Whether another process of this name is waited for. */
  readonly onWaiting: (isWaiting: boolean) => void;
  /** It is registered, and takes calls. */
  readonly onRegistered: () => void;
  /** Its own lease is lost: others believe that this process is dead. */
  readonly onLost: (error: unknown) => void;
}

/** What has ended the help. */
export type HelpEnd =
  /** This instance coordinates now: it holds the lease of `roles`, which is renewed until `stopKeeping`. */
  | { readonly kind: 'coordinates'; readonly roles: Roles; readonly stopKeeping: () => void }
  /** The migration has gone elsewhere, or is gone. */
  | { readonly kind: 'moved' };

const IDLE_TICK_MS = 300;
const WORK_TICK_MS = 120;
const LEASE_LOOK_MS = 500;
/** How often it says how far it is when nothing waits for that, and that it lives when nothing happens. */
const TELL_MS = 500;
const HEARTBEAT_MS = 5000;
const LEAVE_MS = 5000;

/**
 * One instance that helps. It is registered by a lease of its own, under which it writes: the copy's documents, and one
 * document that tells how far it is. It takes the migration's lease as soon as nobody has it, unless it is paused.
 */
export class Helper {
  readonly #parts: HelperParts;
  readonly #roles: Roles;
  /** With the migration's lease, once it is free. */
  readonly #next: Roles;
  readonly #watch: CoordinatorWatch;
  readonly #incarnation = randomUUID();
  #workshop: Workshop | undefined;
  #orders: Orders = { epoch: '', round: 0 };
  #epoch = '';
  #calls: readonly GivenCall[] = [];
  #isPaused: boolean;
  #told = { text: '', news: -1, atMs: Number.NEGATIVE_INFINITY };
  readonly #telling = new SerialQueue();

  constructor(parts: HelperParts) {
    const { source, destination, db, instance, logger } = parts;
    this.#parts = parts;
    this.#isPaused = parts.isPaused;
    const options = { db, instance, logger };
    this.#roles = rolesOf(source, destination, { ...options, leaseId: instanceLease(instance) });
    this.#next = rolesOf(source, destination, { ...options, goesOn: true });
    this.#watch = new CoordinatorWatch(this.#next, parts.record, parts.onChange);
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** What is known of the coordinator. */
  get watch(): Pick<CoordinatorWatch, 'record' | 'status'> {
    return this.#watch;
  }

  /** For reads of the metadata. */
  get store(): Roles['store'] {
    return this.#roles.store;
  }

  /** What this instance has been given that has not taken effect. */
  get calls(): readonly GivenCall[] {
    return this.#calls.filter((each) => each.round === this.#orders.round);
  }

  /**
   * Registers once nobody else has this name, and helps until this instance coordinates or the migration is elsewhere.
   * Errors: LeaseLost; MigrationFailed; the signal's reason.
   */
  async help(signal: AbortSignal): Promise<HelpEnd> {
    const { lease } = this.#roles;
    lease.expectTaker(true);
    while (!(await lease.takeIfFree(signal))) {
      this.#parts.onWaiting(true);
      await sleep(LEASE_LOOK_MS, signal);
    }
    this.#parts.onWaiting(false);
    const stopKeeping = keepLease(lease, this.#parts.onLost, signal);
    const { load, logger, record } = this.#parts;
    const doers = doersOf({ roles: this.#roles, load, logger, options: record.options }, signal);
    const workshop = new Workshop(doers, slotsOf(load), signal);
    this.#workshop = workshop;
    try {
      await this.#remember(signal);
      this.#parts.onRegistered();
      for (;;) {
        await this.#obey(workshop, signal);
        await this.#tell(workshop, signal);
        const end = await this.#look(signal);
        if (end !== undefined) return end;
        await workshop.newsWithin(workshop.isIdle ? IDLE_TICK_MS : WORK_TICK_MS, this.#told.news, signal);
        // Before anything else is looked at: the coordinator waits for it.
        await this.#tell(workshop, signal);
      }
    } finally {
      await workshop.stop();
      stopKeeping();
      await this.#leave();
    }
  }

  /** Gives back what it does, and takes nothing until it is resumed. Resolves once nothing is done and that is told. */
  async pause(signal: AbortSignal): Promise<void> {
    this.#isPaused = true;
    await this.#workshop?.stop();
    await this.#tellNow(signal);
  }

  async resume(signal: AbortSignal): Promise<void> {
    this.#isPaused = false;
    await this.#tellNow(signal);
  }

  /** Stores that it was given a call. */
  async give(event: GatheredEvent, forAll: boolean, signal: AbortSignal): Promise<void> {
    this.#orders = ordersIn(await this.store.readAll(TASKS, {}, signal)) ?? this.#orders;
    const others = this.#calls.filter((each) => each.event !== event);
    this.#calls = [...others, { event, round: this.#orders.round, forAll }];
    await this.#tellNow(signal);
  }

  /**
   * Gives the lease back once no write whose answer was lost can take effect any more. Where that is not certain the lease
   * stays: who takes it over makes certain.
   */
  async #leave(): Promise<void> {
    try {
      await this.#roles.destination.resolveLostWrites(AbortSignal.timeout(LEAVE_MS));
      await this.#roles.lease.release();
    } catch (error) {
      this.#parts.logger.warn('The lease of this instance stays until it runs out', { error });
    }
  }

  /** What an earlier process of this name was called counts on. */
  async #remember(signal: AbortSignal): Promise<void> {
    const [doc] = await this.store.readAll(INSTANCES, { _id: this.#parts.instance }, signal);
    if (doc !== undefined) this.#calls = fromDoc<InstanceRecord>(doc).calls;
  }

  /** Does what is ordered, and nothing of earlier orders. */
  async #obey(workshop: Workshop, signal: AbortSignal): Promise<void> {
    const filter = { $or: [{ _id: ORDERS }, { to: this.#parts.instance }] };
    const docs = await this.store.readAll(TASKS, filter, signal);
    const orders = ordersIn(docs) ?? this.#orders;
    this.#orders = orders;
    if (orders.epoch !== this.#epoch) {
      await workshop.stop();
      workshop.clear();
      await this.#roles.destination.resolveLostWrites(signal);
      this.#epoch = orders.epoch;
    }
    const tasks = docs.filter(({ _id }) => String(_id).startsWith(`${orders.epoch}/`));
    workshop.set(
      tasks.map((doc) => fromDoc<TaskRecord>(doc)),
      this.#isPaused,
    );
  }

  async #tell(workshop: Workshop, signal: AbortSignal): Promise<void> {
    const sinceMs = performance.now() - this.#told.atMs;
    const text = JSON.stringify(this.#recordNow());
    const isNews = workshop.news !== this.#told.news || this.#told.text === '';
    const isChanged = text !== this.#told.text;
    if (!isNews && sinceMs < (isChanged ? TELL_MS : HEARTBEAT_MS)) return;
    await this.#tellNow(signal);
  }

  /** One after the other: what is stored last must be what is so now. */
  #tellNow(signal: AbortSignal): Promise<void> {
    return this.#telling.run(async () => {
      const record = this.#recordNow();
      const told = { text: JSON.stringify(record), news: this.#workshop?.news ?? 0, atMs: performance.now() };
      await this.store.putDocuments(INSTANCES, [toDoc(record)], signal);
      this.#told = told;
    });
  }

  #recordNow(): InstanceRecord {
    const { instance, load } = this.#parts;
    return {
      id: instance,
      incarnation: this.#incarnation,
      isPaused: this.#isPaused,
      epoch: this.#epoch,
      slots: slotsOf(load),
      calls: this.#calls,
      work: this.#workshop?.reports ?? [],
    };
  }

  async #look(signal: AbortSignal): Promise<HelpEnd | undefined> {
    const found = await this.#watch.look(!this.#isPaused, signal);
    if (found === 'moved') return { kind: 'moved' };
    return found === 'taken' ? await this.#coordinate(signal) : undefined;
  }

  async #coordinate(signal: AbortSignal): Promise<HelpEnd> {
    const { lease } = this.#next;
    const stopKeeping = keepLease(lease, this.#parts.onLost, signal);
    try {
      if (await this.#watch.isHere(signal)) {
        await this.#workshop?.stop();
        this.#parts.logger.info('This instance coordinates the migration from now on');
        return { kind: 'coordinates', roles: this.#next, stopKeeping };
      }
    } catch (error) {
      stopKeeping();
      throw error;
    }
    stopKeeping();
    await lease.release();
    return { kind: 'moved' };
  }
}

function slotsOf({ parallelRanges, parallelComparisons }: Load): InstanceRecord['slots'] {
  return { copy: parallelRanges, compare: parallelComparisons, apply: 1 };
}
