/** Holds the right to write for a migration: takes the lease, renews it, and says when it has ended. */
import { randomUUID } from 'node:crypto';
import type { Doc } from '../bson/bson.js';
import {
  clusterError,
  describeError,
  isTransient,
  isWorthAnotherRun,
  safeText,
  TransientError,
} from '../cluster/errors.js';
import type { WriteRight } from '../cluster/write-right.js';
import { AppError } from '../errors.js';
import { type Clock, systemClock } from '../lib/clock.js';
import { bootId, isAlive } from '../lib/host-process.js';
import type { Logger } from '../lib/logger.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { beat } from '../lib/signals.js';
import { deferred, runWith } from '../lib/tasks.js';
import { type EarlierHolder, type HolderIdentity, literals, MIGRATION_LEASE, unended } from './lease-record.js';
import { ThreadRights } from './thread-rights.js';

const LEASE_MS = 30_000;
/** While somebody waits to take over: what a cut-off holder costs then. */
const SHORT_LEASE_MS = 10_000;
const RENEW_MS = 4000;
/**
 * A majority that confirms late has the lease made for longer, so that it lasts until the next confirmation: by what
 * the record says, which a taker goes by.
 */
const MAX_LEASE_MS = 10 * 60_000;
/** A taker waits this much longer than the lease, so that the holder's own clock has run out before. */
const GRACE_MS = 2000;
/** Between two looks at a lease that another one holds, and between renewals once it has run out. */
const POLL_MS = 500;
/** Renewals that wait for a majority at the same time: as many as the lease has room for. */
const MAX_RENEWALS = 8;
/** Structural commands less apart than this are one burst. */
const BURST_MS = 3000;

/** Where the lease is kept: on the destination, beside the migration's record. */
export interface LeaseStore {
  readonly identity: HolderIdentity;
  /** The `_id` of its record. Left out: that of the migration's own lease. */
  readonly leaseId?: string;
  /** Whether a structural command whose answer was lost may still come. */
  mayStillChange(): boolean;
  /** Whether anything may still come whose answer was lost. */
  hasLost(): boolean;
  /** The record as a majority has it. */
  readLease(signal: AbortSignal): Promise<Doc | undefined>;
  /**
   * Sets fields, by expressions, where it is as `filter` says; with `upsert`, makes it. Resolves with whether it was. Once;
   * the driver's errors.
   */
  changeLease(filter: Doc, set: Doc, options?: { readonly upsert: boolean }): Promise<boolean>;
  /** Resolves once nothing that earlier holders have sent can take effect any more. */
  endEarlier(earlier: readonly EarlierHolder[], signal: AbortSignal): Promise<void>;
}

/** One renewal, when it was sent and for how long. */
interface Renewal {
  readonly sentMs: number;
  readonly leaseMs: number;
}

/** Time and the process, as tests set them. */
export interface LeaseSurroundings {
  readonly clock: Clock;
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly bootId: () => Promise<string>;
  readonly isAlive: (pid: number) => boolean;
}

/**
 * The right to write for a migration: one process at a time. The holder renews it; every write asks `assertHeld`.
 * `term` grows with every change of hands.
 *
 * Why a flag "process X is working" is not enough: a process that dies leaves it behind, and a process that is only
 * stopped (SIGSTOP, a suspended virtual machine) wakes up later and believes that it is still the holder. Why a time of
 * expiry in the record is not enough: clocks of two hosts differ, and a clock may be set back.
 *
 * The holder's side: after each renewal that a majority has confirmed, the holder may write for the length of the lease
 * (30 s, or more where the majority is slow) from the moment when it *sent* the renewal, by its monotonic clock. A
 * process that was stopped or cut off finds its deadline passed and sends nothing more.
 *
 * The taker's side: a taker trusts no clock but its own. It takes a lease whose record it has seen unchanged for longer
 * than the lease lasts plus `GRACE_MS`. The holder's deadline counts from the sending of a renewal, the taker's waiting
 * from seeing its effect, which is later: so the holder's right has ended before the taker's begins.
 *
 * Example: the holder renews at 0 s and is stopped at 1 s. The taker sees that record first at 3 s and takes the lease
 * at 35 s. The holder wakes at 40 s: its deadline was 30 s, so `assertHeld` throws; its next renewal finds another
 * owner: LeaseLost.
 *
 * Invariant: at no moment do two processes pass `assertHeld`. What was *sent* before a deadline may still arrive after
 * it: the server refuses that by session numbers (numbered-sessions.ts) and terms (fenced-documents.ts).
 *
 * A process on the same host (boot id) whose pid is gone gives it up at once; so a restart goes on within a second.
 * What the earlier holder has sent, and the server has not carried out or not even received, is made void before
 * anything else is written (docs/02-lifecycle.md, "Writes that arrive late"). For that the record names the holder's
 * sessions and connections, and whether it may be changing the catalog: `begun` counts the bursts of structural
 * commands, `ended` those that are over. Both only grow, so a change of them that arrives late does no harm.
 */
export class Lease implements WriteRight {
  /** For threads of this process. */
  readonly threads: ThreadRights;
  readonly #owner = randomUUID();
  readonly #logger: Logger;
  readonly #surroundings: LeaseSurroundings;
  readonly #store: LeaseStore;
  #deadlineMs = Number.NEGATIVE_INFINITY;
  #term: number | undefined;
  #seen: { readonly text: string; readonly sinceMs: number } | undefined;
  #lost = false;
  readonly #announcing = new SerialQueue();
  #begun = 0;
  #ended = 0;
  /** Structural commands under way. */
  #changing = 0;
  #changedMs = Number.NEGATIVE_INFINITY;
  #majorityDelayMs = 0;
  /** Why the last renewal failed. */
  #refused: string | undefined;
  /** Renewals that have no answer yet, oldest first. */
  readonly #underWay = new Set<Renewal>();
  /** Those sent since the oldest of them: a later one may have made the lease shorter. */
  #sent: Renewal[] = [];
  #usualMs = LEASE_MS;

  constructor(store: LeaseStore, logger: Logger, surroundings: Partial<LeaseSurroundings> = {}) {
    this.#store = store;
    this.#logger = logger;
    this.#surroundings = { clock: systemClock, wait: beat, bootId, isAlive, ...surroundings };
    this.threads = new ThreadRights({
      leftMs: () => this.#deadlineMs - this.#now(),
      change: async (set) => {
        if (!(await this.#store.changeLease(this.#mine(), set))) throw lost();
      },
    });
  }

  get held(): boolean {
    return this.#now() < this.#deadlineMs;
  }

  /** How long the destination's majority last took to confirm a renewal, or has taken so far, in milliseconds. */
  get majorityDelayMs(): number {
    const [oldest] = this.#underWay;
    return Math.max(this.#majorityDelayMs, oldest === undefined ? 0 : this.#now() - oldest.sentMs);
  }

  /** Whether another process waits to take over: then the lease is made to last shorter, from the next renewal on. */
  expectTaker(isThere: boolean): void {
    this.#usualMs = isThere ? SHORT_LEASE_MS : LEASE_MS;
  }

  /** Of the last time it was taken; undefined before. */
  get term(): number | undefined {
    return this.#term;
  }

  /**
   * For how many milliseconds the right to write is certain. Throws when it is not: LeaseLost when another process has
   * it; TransientError while the destination is away and nobody can have taken it.
   */
  assertHeld(): number {
    if (this.#lost) throw lost();
    const leftMs = this.#deadlineMs - this.#now();
    if (leftMs > 0) return leftMs;
    const cause = this.#refused === undefined ? '' : `: ${this.#refused}`;
    throw new TransientError(`the lease of the migration could not be renewed in time${cause}`);
  }

  /**
   * Runs `work`, which sends a structural command, once the record says that one may be under way. Errors: those of
   * `work`; LeaseLost; the driver's.
   */
  async changing<T>(work: () => Promise<T>): Promise<T> {
    this.#changing++;
    try {
      if (this.#begun === this.#ended) await this.#announcing.run(() => this.#announce());
      return await work();
    } finally {
      this.#changing--;
      this.#changedMs = this.#now();
    }
  }

  async #announce(): Promise<void> {
    if (this.#begun > this.#ended) return;
    const begun = this.#begun + 1;
    const set = { begun: { $max: ['$begun', begun] } };
    if (!(await this.#store.changeLease(this.#mine(), set))) throw lost();
    this.#begun = begun;
  }

  /** Waits until it is taken; `onHeld` is called once if another process holds it. */
  async take(signal: AbortSignal, onHeld?: () => void): Promise<void> {
    for (let said = false; !(await this.#look(signal)).taken; said = true) {
      if (!said) {
        this.#logger.info('Another process holds the lease of this migration; waiting for it');
        onHeld?.();
      }
      await this.#surroundings.wait(POLL_MS, signal);
    }
  }

  /** Looks at it once, and takes it if nobody holds it, or its holder is known to be gone. Resolves with whether it is held. */
  async takeIfFree(signal: AbortSignal): Promise<boolean> {
    return (await this.#look(signal)).taken;
  }

  /** As `take`, but resolves with false as soon as the process that holds it is known to be alive. */
  async takeFromDead(signal: AbortSignal): Promise<boolean> {
    for (;;) {
      const { taken, holderLives } = await this.#look(signal);
      if (taken || holderLives) return taken;
      await this.#surroundings.wait(POLL_MS, signal);
    }
  }

  /** Renews until `signal` aborts. Rejects with LeaseLost when another process took it. */
  async keep(signal: AbortSignal): Promise<void> {
    const failed = deferred<never>();
    for (;;) {
      const renewMs = Math.min(RENEW_MS, this.#usualMs / 4);
      await Promise.race([this.#surroundings.wait(this.held ? renewMs : POLL_MS, signal), failed.promise]);
      // The next one is not held up by a majority that is slow to confirm the last one.
      if (this.#underWay.size >= MAX_RENEWALS) continue;
      void this.#renew().catch((error: unknown) => failed.reject(error));
    }
  }

  /**
   * Gives it back, so that another process need not wait: neither for the lease nor for what this one has sent, since
   * all of that has been answered. Where an answer was lost, the record goes on to tell who sent it.
   */
  async release(): Promise<void> {
    if (!this.held) return;
    this.#setDeadline(Number.NEGATIVE_INFINITY);
    const isAnswered = this.#changing === 0 && !this.#store.hasLost();
    const nothing = isAnswered ? { client: null, sessions: [], ended: this.#begun } : {};
    const set = literals({ expiresAt: new Date(0), pid: 0, ...nothing });
    await this.#store.changeLease(this.#mine(), set);
  }

  /** Looks at it once, and takes it if it may. */
  async #look(signal: AbortSignal): Promise<{ readonly taken: boolean; readonly holderLives: boolean }> {
    if (this.held) return { taken: true, holderLives: false };
    const askedMs = this.#now();
    const current = await this.#store.readLease(signal);
    const host = await this.#surroundings.bootId();
    const isHere = current?.['bootId'] === host;
    const pid = Number(current?.['pid']);
    // Given back, by a process that may live on: a reversal leaves a lease so. Or this process's own, from a try that was
    // given up before its answer came: nobody renews that.
    const isOurs = current?.['owner'] === this.#owner || current?.['client'] === this.#store.identity.client;
    const isFree = current === undefined || isOurs || pid === 0;
    const isGone = !isFree && isHere && !this.#surroundings.isAlive(pid);
    const wasSeen = this.#seen;
    const unchangedMs = current === undefined ? 0 : this.#unchangedMs(current, askedMs);
    if (!isFree && !isGone && unchangedMs < lengthOf(current) + GRACE_MS) {
      const isRenewed = wasSeen !== undefined && wasSeen !== this.#seen;
      return { taken: false, holderLives: isRenewed || isHere };
    }
    return { taken: await this.#takeFrom(current, host, signal), holderLives: false };
  }

  /** How long the record has been as it is, by this process's own clock. */
  #unchangedMs(current: Doc, askedMs: number): number {
    const text = ['owner', 'term', 'renewals', 'expiresAt'].map((name) => String(current[name])).join();
    if (this.#seen?.text !== text) this.#seen = { text, sinceMs: this.#now() };
    return askedMs - this.#seen.sinceMs;
  }

  async #takeFrom(current: Doc | undefined, host: string, signal: AbortSignal): Promise<boolean> {
    const store = this.#store;
    const sentMs = this.#now();
    const term = Number(current?.['term'] ?? 0) + 1;
    const ending = unended(current).filter((each) => each.client !== store.identity.client);
    const sessions = [...store.identity.sessions, ...this.threads.sessions];
    const identity = { ...store.identity, sessions };
    const self = { owner: this.#owner, bootId: host, pid: process.pid, ...identity, ending, begun: 0, ended: 0 };
    // The first taker's upsert wins; another one's meets the same _id and is refused.
    const condition =
      current === undefined
        ? { owner: this.#owner }
        : { owner: current['owner'], term: current['term'], renewals: current['renewals'] ?? null };
    try {
      const leaseMs = this.#usualMs;
      const expiresAt = { $add: ['$$NOW', leaseMs] };
      const filter = { _id: this.#id, ...condition };
      const set = { ...literals({ ...self, term, renewals: 0, leaseMs }), expiresAt };
      if (!(await store.changeLease(filter, set, { upsert: current === undefined }))) return false;
    } catch (error) {
      // Whether it took effect is seen at the next look.
      if (!isTransient(error)) throw error;
      this.#logger.warn(`The lease could not be taken: ${safeText(error)}`);
      return false;
    }
    this.#term = term;
    [this.#begun, this.#ended] = [0, 0];
    this.#setDeadline(sentMs + this.#usualMs);
    if (ending.length > 0) {
      await runWith((inner) => this.#endEarlier(ending, inner), [(inner) => this.keep(inner)], signal);
      this.assertHeld();
    }
    this.#logger.info(`Took the lease of ${this.#id === MIGRATION_LEASE ? 'the migration' : this.#id}`, { term });
    return true;
  }

  /** Stored as done only then: the next holder ends them if this process dies before. */
  async #endEarlier(earlier: readonly EarlierHolder[], signal: AbortSignal): Promise<void> {
    await this.#store.endEarlier(earlier, signal);
    await this.#store.changeLease(this.#mine(), { ending: [] }).catch((error: unknown) => {
      // Then they are looked for once more by the next holder.
      if (!mayPass(error)) throw error;
    });
  }

  async #renew(): Promise<void> {
    const usualMs = this.#usualMs;
    const leaseMs = Math.min(MAX_LEASE_MS, Math.max(usualMs, Math.round(usualMs / 3 + 3 * this.majorityDelayMs)));
    const sent = { sentMs: this.#now(), leaseMs };
    this.#underWay.add(sent);
    this.#sent.push(sent);
    // It may take effect from now on, and a taker would wait no longer than it says.
    if (this.#deadlineMs > endOf(sent)) this.#setDeadline(endOf(sent));
    try {
      const change = {
        expiresAt: { $add: ['$$NOW', leaseMs] },
        renewals: { $add: ['$renewals', 1] },
        leaseMs,
        ended: { $max: ['$ended', this.#endedBurst()] },
      };
      if (!(await this.#store.changeLease(this.#mine(), change))) {
        this.#lost = true;
        this.#setDeadline(Number.NEGATIVE_INFINITY);
        throw lost();
      }
      this.#majorityDelayMs = this.#now() - sent.sentMs;
      this.#refused = undefined;
    } catch (error) {
      // Not lost: nobody else takes it before it has run out, and the next renewal is seconds away.
      if (!mayPass(error)) throw error;
      this.#refused = describeError(error);
      this.#logger.warn(`The lease could not be renewed: ${this.#refused}`);
      return;
    } finally {
      this.#underWay.delete(sent);
    }
    const later = this.#sent.filter(({ sentMs }) => sentMs >= sent.sentMs);
    const untilMs = Math.min(endOf(sent), ...later.map(endOf));
    const [oldest] = this.#underWay;
    this.#sent = oldest === undefined ? [] : this.#sent.filter(({ sentMs }) => sentMs >= oldest.sentMs);
    if (this.#deadlineMs > Number.NEGATIVE_INFINITY) this.#setDeadline(Math.max(this.#deadlineMs, untilMs));
  }

  /** -Infinity: given back or lost, which ends it for the threads for good. */
  #setDeadline(ms: number): void {
    this.#deadlineMs = ms;
    this.threads.publish();
  }

  /**
   * The number of the last burst of structural commands that is over. From here on the next one is announced anew, so
   * that this may be stored at any time.
   */
  #endedBurst(): number {
    const isOver = this.#changing === 0 && this.#now() - this.#changedMs > BURST_MS;
    if (isOver && !this.#store.mayStillChange()) this.#ended = this.#begun;
    return this.#ended;
  }

  #mine(): Doc {
    return { _id: this.#id, owner: this.#owner, term: this.#term };
  }

  get #id(): string {
    return this.#store.leaseId ?? MIGRATION_LEASE;
  }

  #now(): number {
    return this.#surroundings.clock.monotonicMs();
  }
}

/** Whether a renewal may succeed later: whatever code the server gave, but not for an error of this program's. */
function mayPass(error: unknown): boolean {
  return isWorthAnotherRun(clusterError(error, 'renewing the lease'));
}

/** For how long its holder may count on it from a renewal on. */
function lengthOf(current: Doc | undefined): number {
  const leaseMs = Number(current?.['leaseMs'] ?? LEASE_MS);
  return Number.isFinite(leaseMs) ? Math.min(Math.max(leaseMs, SHORT_LEASE_MS), MAX_LEASE_MS) : LEASE_MS;
}

/** When the lease ends that a renewal gives. */
function endOf({ sentMs, leaseMs }: Renewal): number {
  return sentMs + leaseMs;
}

function lost(): AppError {
  return new AppError('LeaseLost', 'another process has taken over this migration');
}
