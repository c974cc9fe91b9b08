import { randomUUID } from 'node:crypto';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Doc } from '../cluster/bson.js';
import { isTransient, safeText } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { sleep } from '../lib/signals.js';
import type { MetadataStore } from './store.js';

const LEASE_MS = 15_000;
const RENEW_MS = 4000;
/** A taker waits this much longer than the lease, so that the holder's own clock has run out before. */
const GRACE_MS = 2000;

/**
 * The right to write for a migration: one process at a time. The holder renews it; every write asks `assertHeld`, which
 * compares with a monotonic deadline counted from before the renewal was sent, so a process that was stopped or cut off
 * ceases to write before another one may begin. `term` grows with every change of hands.
 *
 * A process on the same host (boot id) whose pid is gone gives it up at once; so a restart goes on within a second.
 */
export class Lease {
  readonly #owner = randomUUID();
  readonly #logger: Logger;
  #store: MetadataStore | undefined;
  #deadlineMs = 0;
  #term = 0;
  #lost = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The store the lease lives in; set once, since the store asks the lease before it writes. */
  bind(store: MetadataStore): void {
    this.#store = store;
  }

  get held(): boolean {
    return performance.now() < this.#deadlineMs;
  }

  get term(): number {
    return this.#term;
  }

  /**
   * Throws when the right to write is not certain: LeaseLost when another process has it; ClusterUnreachable, which is
   * tried again, while the destination is away and nobody can have taken it.
   */
  assertHeld(): void {
    if (this.#lost) throw lost();
    if (!this.held) throw new AppError('ClusterUnreachable', 'the lease of the migration could not be renewed in time');
  }

  /** Tries once. False when another live process holds it. */
  async tryTake(signal: AbortSignal): Promise<boolean> {
    if (this.held) return true;
    const store = this.#bound();
    const self = { owner: this.#owner, bootId: await bootId(), pid: process.pid };
    const [current] = await store.readAll('lease', signal);
    const sentMs = performance.now();
    const gone = current !== undefined && current['bootId'] === self.bootId && !isAlive(Number(current['pid']));
    const expired = { $expr: { $lt: ['$expiresAt', { $subtract: ['$$NOW', GRACE_MS] }] } };
    // The first taker's upsert wins; another one's meets the same _id and is refused.
    const condition = current === undefined ? { owner: this.#owner } : gone ? { term: current['term'] } : expired;
    const filter: Doc = { _id: 'lease', ...condition };
    const taken = await store.updateWithServerTime(
      'lease',
      filter,
      [{ $set: { ...self, term: { $add: [{ $ifNull: ['$term', 0] }, 1] }, expiresAt: { $add: ['$$NOW', LEASE_MS] } } }],
      current === undefined,
    );
    if (!taken) return false;
    this.#deadlineMs = sentMs + LEASE_MS;
    const [mine] = await store.readAll('lease', signal);
    if (mine?.['owner'] !== this.#owner) {
      this.#deadlineMs = 0;
      return false;
    }
    this.#term = Number(mine['term']);
    this.#logger.info('Took the lease of the migration', { term: this.#term });
    return true;
  }

  /** Waits until it is taken. */
  async take(signal: AbortSignal): Promise<void> {
    for (let said = false; ; said = true) {
      if (await this.tryTake(signal)) return;
      if (!said) this.#logger.info('Another process holds the lease of this migration; waiting for it');
      await sleep(500, signal);
    }
  }

  /** Renews until `signal` aborts. Rejects with LeaseLost when another process took it or it ran out. */
  async keep(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(RENEW_MS, signal);
      const sentMs = performance.now();
      try {
        const kept = await this.#bound().updateWithServerTime(
          'lease',
          { _id: 'lease', owner: this.#owner },
          [{ $set: { expiresAt: { $add: ['$$NOW', LEASE_MS] } } }],
          false,
        );
        if (!kept) this.#lose();
        this.#deadlineMs = sentMs + LEASE_MS;
      } catch (error) {
        if (!isTransient(error)) throw error;
        this.#logger.warn(`The lease could not be renewed: ${safeText(error)}`);
        // Not lost yet, and nobody else can take it while the destination is away: taken again once it is back.
        if (!this.held) await this.#retake(signal);
      }
    }
  }

  /** Gives it back, so that another process need not wait. */
  async release(): Promise<void> {
    if (!this.held) return;
    this.#deadlineMs = 0;
    await this.#bound().updateWithServerTime(
      'lease',
      { _id: 'lease', owner: this.#owner },
      [{ $set: { expiresAt: new Date(0), pid: 0 } }],
      false,
    );
  }

  async #retake(signal: AbortSignal): Promise<void> {
    for (;;) {
      const sentMs = performance.now();
      try {
        const kept = await this.#bound().updateWithServerTime(
          'lease',
          { _id: 'lease', owner: this.#owner, term: this.#term },
          [{ $set: { expiresAt: { $add: ['$$NOW', LEASE_MS] } } }],
          false,
        );
        if (!kept) this.#lose();
        this.#deadlineMs = sentMs + LEASE_MS;
        return;
      } catch (error) {
        if (!isTransient(error)) throw error;
        await sleep(500, signal);
      }
    }
  }

  #lose(): never {
    this.#lost = true;
    this.#deadlineMs = 0;
    throw lost();
  }

  #bound(): MetadataStore {
    if (this.#store === undefined) throw new AppError('Internal', 'the lease has no store');
    return this.#store;
  }
}

function lost(): AppError {
  return new AppError('LeaseLost', 'another process has taken over this migration');
}

/** The running kernel's id and the process namespace (a container's pids mean nothing outside it) where the system tells one; else a value that no record matches. */
async function bootId(): Promise<string> {
  try {
    const [boot, namespace] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readlink('/proc/self/ns/pid'),
    ]);
    return `${boot.trim()}/${namespace}`;
  } catch (error) {
    if (error instanceof Error) return `${hostname()}/${randomUUID()}`;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
