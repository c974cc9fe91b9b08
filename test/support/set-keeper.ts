/** The sets that a runner lends to the test files it starts: one that comes back is made as new, or replaced. */
import type { ChildProcess } from 'node:child_process';
import type { MongoClient } from 'mongodb';
import { cpuSeconds } from './cpu-seconds.js';
import { FAIL_POINTS } from './fail-points.js';
import { ReplicaSet } from './replica-set.js';
import { KEEPER_APP, readSetState, restoreSet, type SetState } from './restore-set.js';
import type { LentSet, LoanAnswer, LoanRequest, WantedSet } from './set-loans.js';

/** A set and where it is: free, or with a borrower. */
interface Kept {
  readonly id: number;
  readonly set: ReplicaSet;
  readonly client: MongoClient;
  readonly asNew: SetState;
  readonly failPoints: boolean;
  borrower: object | undefined;
  /** What the servers had used of the processor when the borrower got them. */
  cpuBefore: number;
  /** Whether it may be lent again, once that is known. */
  ready: Promise<boolean>;
  isReady: boolean;
}

/** Keeps sets and lends them. Disposing of it removes them all; so does its process's end, by their watchdogs. */
export class SetKeeper implements AsyncDisposable {
  readonly #limit: number;
  readonly #tell: (text: string) => void;
  readonly #kept = new Map<number, Kept>();
  readonly #removals = new Set<Promise<void>>();
  readonly #cpuUsed = new WeakMap<object, number>();
  #ids = 0;

  /** `limit`: how many sets may be alive before free ones are removed. `tell` is given what befell a set. */
  constructor({ limit, tell }: { readonly limit: number; readonly tell: (text: string) => void }) {
    this.#limit = limit;
    this.#tell = tell;
  }

  /** Lends to a process that was started with a channel, until it ends. What it still has then is taken back. */
  serve(child: ChildProcess): void {
    child.on('message', (message: LoanRequest) => {
      if (message.type === 'giveBack') this.giveBack(child, message.id);
      else void this.#answer(child, message);
    });
    child.once('exit', () => {
      for (const { id, borrower } of this.#kept.values()) if (borrower === child) this.giveBack(child, id);
    });
  }

  /** Lends a free set of that kind, or starts one. Errors: as {@link ReplicaSet.start}. */
  async lend(borrower: object, wanted: WantedSet): Promise<LentSet> {
    for (let free = this.#free(wanted); free !== undefined; free = this.#free(wanted)) {
      free.borrower = borrower;
      free.cpuBefore = cpuOf(free.set);
      if (await free.ready) return describe(free);
    }
    const name = wanted.name ?? 'rs';
    const set = await ReplicaSet.start({ name, ...(wanted.failPoints && { setParameters: FAIL_POINTS }) });
    const client = await set.connect({ appName: KEEPER_APP });
    const asNew = await readSetState(client);
    this.#ids += 1;
    const kept: Kept = {
      id: this.#ids,
      set,
      client,
      asNew,
      failPoints: wanted.failPoints,
      borrower,
      cpuBefore: 0,
      ready: READY,
      isReady: true,
    };
    this.#kept.set(kept.id, kept);
    this.#removeSurplus();
    return describe(kept);
  }

  /** Takes a set back, from who has it. */
  giveBack(borrower: object, id: number): void {
    const kept = this.#kept.get(id);
    if (kept?.borrower !== borrower) return;
    kept.borrower = undefined;
    this.#cpuUsed.set(borrower, this.cpuUsed(borrower) + cpuOf(kept.set) - kept.cpuBefore);
    kept.isReady = false;
    kept.ready = this.#restore(kept);
  }

  /** Processor time, in seconds, of the sets that somebody had and gave back. */
  cpuUsed(borrower: object): number {
    return this.#cpuUsed.get(borrower) ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A restoring that is under way would connect its client anew.
    await Promise.all([...this.#kept.values()].map(({ ready }) => ready));
    for (const kept of this.#kept.values()) this.#remove(kept);
    await Promise.all(this.#removals);
  }

  async #answer(child: ChildProcess, { request, wanted }: Extract<LoanRequest, { type: 'borrow' }>): Promise<void> {
    let answer: LoanAnswer = { type: 'lent', request };
    try {
      answer = { ...answer, set: await this.lend(child, wanted) };
    } catch (error) {
      this.#tell(`no set to lend: ${String(error)}`);
    }
    if (child.connected) child.send(answer);
    else if (answer.set !== undefined) this.giveBack(child, answer.set.id);
  }

  #free({ name, failPoints }: WantedSet): Kept | undefined {
    const isSuch = (kept: Kept) =>
      kept.borrower === undefined && kept.failPoints === failPoints && (name ?? kept.set.name) === kept.set.name;
    return [...this.#kept.values()].find(isSuch);
  }

  async #restore(kept: Kept): Promise<boolean> {
    try {
      await restoreSet(kept.set, kept.client, kept.asNew);
      kept.isReady = true;
      return true;
    } catch (error) {
      this.#tell(`the set ${kept.set.name} is replaced: ${String(error)}`);
      this.#remove(kept);
      return false;
    }
  }

  #removeSurplus(): void {
    for (const kept of this.#kept.values()) {
      if (this.#kept.size <= this.#limit) return;
      if (kept.borrower === undefined && kept.isReady) this.#remove(kept);
    }
  }

  #remove(kept: Kept): void {
    this.#kept.delete(kept.id);
    const removal = kept.set.remove().finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }
}

function cpuOf(set: ReplicaSet): number {
  return set.members.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
}

const READY = Promise.resolve(true);

function describe({ id, set: { name, version, members } }: Kept): LentSet {
  return {
    id,
    name,
    version,
    members: members.map(({ host, port, pid, dbPath, logPath }) => ({ host, port, pid, dbPath, logPath })),
  };
}
