/** Runs a random workload on a source, the same for a seed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type MongoClient, MongoError } from 'mongodb';
import { CRUD } from './workload-crud.js';
import { DDL, optionsOf } from './workload-ddl.js';
import { isExpected, nameOf } from './workload-errors.js';
import { Random } from './workload-random.js';
import type { Act, Turn } from './workload-turn.js';

const ALL = { ...CRUD, ...DDL };

/** The kinds of operations of a workload. */
export type WorkloadKind = keyof typeof ALL;

/** Every kind that changes the catalog, e.g. to leave them out. */
export const DDL_KINDS = Object.keys(DDL) as readonly (keyof typeof DDL)[];

/** What a workload does, and where. */
export interface WorkloadOptions {
  readonly client: MongoClient;
  /** The same seed chooses the same operations, though not what they meet when several run at once. */
  readonly seed: number;
  /** Default `work0`, `work1`, `work2`; the first is used most, the last is the one that gets dropped. */
  readonly databases?: readonly [string, ...string[]];
  /** Kinds that are left out. */
  readonly without?: readonly WorkloadKind[];
  /** How often a kind is chosen, relative to the others; the usual weights where left out. */
  readonly weights?: Partial<Record<WorkloadKind, number>>;
  /** Operations at the same time. Default 2. */
  readonly workers?: number;
}

/** How long and how fast a workload runs. */
export interface RunOptions {
  /** Ends the run: no operation is begun once it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Operations per second of all workers together. Default: as fast as it goes. */
  readonly opsPerSecond?: number;
  /** Ends the run after so many operations. */
  readonly operations?: number;
}

/** What a workload did so far. */
export interface WorkloadReport {
  /** Operations begun and ended, refused ones included. */
  readonly operations: number;
  /** Of these, carried out, by kind. */
  readonly done: Readonly<Record<string, number>>;
  /** Refusals that a random workload meets, by kind and cause, e.g. `insert: DuplicateKey`. */
  readonly refused: Readonly<Record<string, number>>;
}

/**
 * A seeded random workload against a source, of document operations of every kind and changes of the catalog. It can
 * be run again and goes on where it was. Dates lie decades away: no TTL index deletes anything by itself.
 */
export class Workload {
  readonly #options: Required<Pick<WorkloadOptions, 'client' | 'databases'>>;
  readonly #kinds: readonly { readonly name: string; readonly weight: number; readonly act: Act }[];
  readonly #turns: readonly Turn[];
  readonly #done = new Map<string, number>();
  readonly #refused = new Map<string, number>();
  #operations = 0;

  constructor(options: WorkloadOptions) {
    const { client, seed, databases = ['work0', 'work1', 'work2'], without = [], weights = {}, workers = 2 } = options;
    this.#options = { client, databases };
    this.#kinds = (Object.keys(ALL) as WorkloadKind[])
      .map((name) => ({ name, weight: weights[name] ?? ALL[name].weight, act: ALL[name].act }))
      .filter(({ name, weight }) => weight > 0 && !without.includes(name));
    this.#turns = Array.from({ length: workers }, (_, index) => {
      return { client, databases, random: new Random(seed * 1000 + index) };
    });
  }

  /** Creates the collections with options of their own, where they are missing. Operations create the others. */
  async prepare(): Promise<void> {
    const { client, databases } = this.#options;
    const turn = { client, databases, random: new Random(0) };
    for (const db of databases) {
      for (const name of ['capped', 'clustered', 'collated']) {
        await this.#attempt('prepare', async () => {
          await client.db(db).createCollection(name, optionsOf(name, turn));
        });
      }
    }
    await this.#attempt('prepare', async () => {
      await client.db(databases[0]).collection('unique').createIndex({ u: 1 }, { unique: true });
    });
  }

  /**
   * Runs until the signal aborts or the operations are done, and reports on all runs. Operations under way are waited
   * for. Errors: the first error that a random workload does not legitimately meet.
   */
  async run(options: RunOptions = {}): Promise<WorkloadReport> {
    const { signal, opsPerSecond, operations = Number.POSITIVE_INFINITY } = options;
    const failed = new AbortController();
    const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
    const started = performance.now();
    const end = this.#operations + operations;
    let begun = 0;
    const work = async (turn: Turn) => {
      while (!stop.aborted && this.#operations < end && begun < operations) {
        const due = opsPerSecond === undefined ? 0 : started + (begun * 1000) / opsPerSecond;
        begun++;
        if (!(await reached(due, stop))) return;
        const { name, act } = turn.random.weighted(this.#kinds);
        await this.#attempt(name, () => act(turn));
        this.#operations++;
      }
    };
    const workers = this.#turns.map((turn) =>
      work(turn).catch((error: unknown) => {
        failed.abort();
        throw error;
      }),
    );
    for (const result of await Promise.allSettled(workers)) {
      if (result.status === 'rejected') throw result.reason;
    }
    return this.report();
  }

  /** What was done so far. */
  report(): WorkloadReport {
    return {
      operations: this.#operations,
      done: Object.fromEntries([...this.#done].sort()),
      refused: Object.fromEntries([...this.#refused].sort()),
    };
  }

  async #attempt(name: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.#done.set(name, (this.#done.get(name) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof MongoError) || !isExpected(error)) {
        throw new Error(`a ${name} of the workload failed: ${String(error)}`, { cause: error });
      }
      const key = `${name}: ${nameOf(error)}`;
      this.#refused.set(key, (this.#refused.get(key) ?? 0) + 1);
    }
  }
}

/** Waits until that time of `performance.now()`; false when the signal aborted before. */
async function reached(due: number, signal: AbortSignal): Promise<boolean> {
  const ms = due - performance.now();
  if (ms <= 0) return !signal.aborted;
  try {
    await sleep(ms, undefined, { signal });
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}
