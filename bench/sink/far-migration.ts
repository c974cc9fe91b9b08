/** A migration by several instances to a sink far away, and what its copy and the application of a backlog take. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { cpuSeconds } from '../../test/support/cpu-seconds.js';
import type { FerryClient } from '../../test/support/ferry-client.js';
import { Instances } from '../../test/support/instances.js';
import { bulkDocument, insertBatch } from '../../test/support/seed-data-bulk.js';
import { eventually } from '../../test/support/within.js';
import { type Cpu, timed } from '../figures.js';
import { drain } from '../floors.js';
import type { FarSet } from './far-set.js';

/** What one part of a migration has taken. */
export interface Part {
  readonly seconds: number;
  /** `own`: of all instances. */
  readonly cpu: Cpu;
  /** Of the sink, and of the distance to the source. */
  readonly sink: number;
  readonly distance: number;
}

/** One range and one lane at a time. */
const FLAGS = ['--loadLevel', '1', '--coordinated'];
/** Of one range: once the sink holds so many for each instance, all have begun. */
const WRITES_IN_FLIGHT = 2;
const BACKLOG = { db: 'backlog', names: ['c0', 'c1', 'c2', 'c3'] };
const EVENT_BYTES = 8000;
/** The first stretch is ten seconds of the source's time: that is to be worth its while. */
const EVENTS_PER_SECOND = 20_000;
const EVENT_BATCH = 500;
/** So long after the last of them something is still written: only what is seconds ago is applied in shares. */
const BEHIND_MS = 4500;
const TRICKLE_MS = 100;
const WAIT_MS = 20 * 60_000;

/** Instances of one migration between two far sets, the destination a sink. */
export class FarMigration implements AsyncDisposable {
  readonly #source: FarSet;
  readonly #destination: FarSet;
  readonly #instances: Instances;

  private constructor(source: FarSet, destination: FarSet) {
    this.#source = source;
    this.#destination = destination;
    this.#instances = new Instances({ source: source.set, destination: destination.set });
  }

  /** Starts so many instances. */
  static async open(source: FarSet, destination: FarSet, count: number): Promise<FarMigration> {
    const migration = new FarMigration(source, destination);
    try {
      // Here already, since creations among the events would end the shares.
      for (const name of BACKLOG.names) await source.near.db(BACKLOG.db).createCollection(name);
      for (let number = 1; number <= count; number++) await migration.#instances.add(`i${number}`, FLAGS);
      return migration;
    } catch (error) {
      await migration[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts it. What is measured begins when all instances copy: until then the sink answers no writes. */
  async copy(): Promise<Part> {
    const { server } = this.#destination;
    await server.hold(true);
    await this.#instances.start({ verification: { enabled: false } });
    const wanted = WRITES_IN_FLIGHT * this.#instances.all.length;
    await eventually(WAIT_MS, async () => (await server.hold(true)) >= wanted, 'all instances copying');
    return await this.#measure('the end of the copy', ({ info }) => info === 'change event application');
  }

  /** Has so many events pile up while the sink stands still; measured from its next answer until all are applied. */
  async drain(events: number): Promise<Part> {
    await this.#client.waitForCanCommit(WAIT_MS);
    await this.#destination.server.hold(true);
    const { totalEventsApplied: before = 0 } = await this.#client.progress();
    await this.#makeBacklog(events);
    return await this.#measure(
      'the backlog applied',
      ({ totalEventsApplied = 0 }) => totalEventsApplied >= before + events,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#instances[Symbol.asyncDispose]();
    // The next migration has the same source.
    await this.#source.near.db(BACKLOG.db).dropDatabase();
  }

  /** The coordinator's. */
  get #client(): FerryClient {
    const [first] = this.#instances.all;
    if (first === undefined) throw new Error('there is no instance');
    return first.client;
  }

  async #measure(what: string, wanted: (snapshot: ProgressSnapshot) => boolean): Promise<Part> {
    const before = this.#cpu();
    const { seconds } = await timed(async () => {
      await this.#destination.server.hold(false);
      await this.#client.waitFor(what, wanted, WAIT_MS);
    });
    const [own, source, destination, sink, distance] = this.#cpu().map((after, index) => after - (before[index] ?? 0));
    const cpu = { own: own ?? 0, source: source ?? 0, destination: destination ?? 0 };
    return { seconds, cpu, sink: sink ?? 0, distance: distance ?? 0 };
  }

  /** Of the instances, the source, the destination, the sink and the distance. */
  #cpu(): number[] {
    const [source, destination] = [this.#source, this.#destination];
    const own = this.#instances.all.reduce((sum, { ferry }) => sum + cpuSeconds(ferry.pid), 0);
    const servers = [source, destination].map(({ set }) => cpuSeconds(set.members[0]?.pid ?? 0));
    return [own, ...servers, cpuSeconds(destination.server.pid), cpuSeconds(source.server.pid)];
  }

  /** Inserts, at an even pace. */
  async #makeBacklog(events: number): Promise<void> {
    const db = this.#source.near.db(BACKLOG.db);
    const begun = performance.now();
    const batches = Array.from({ length: Math.ceil(events / EVENT_BATCH) }, (_, index) => index);
    await drain(batches, async (batch) => {
      const from = batch * EVENT_BATCH;
      await sleep(Math.max(0, begun + (from * 1000) / EVENTS_PER_SECOND - performance.now()));
      const length = Math.min(EVENT_BATCH, events - from);
      const documents = Array.from({ length }, (_, index) => bulkDocument(from + index, EVENT_BYTES));
      await insertBatch(db, BACKLOG.names[batch % BACKLOG.names.length] ?? '', documents);
    });
    const end = performance.now() + BEHIND_MS;
    while (performance.now() < end) {
      await db.collection(BACKLOG.names[0] ?? '').insertOne({});
      await sleep(TRICKLE_MS);
    }
  }
}
