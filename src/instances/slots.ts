/** Decides which instance does the next task. */
import { sleep } from '../lib/signals.js';
import type { TaskKind } from './records.js';

/** An instance that may be given tasks. */
export interface Worker {
  readonly id: string;
  /** At the same time. */
  readonly slots: number;
}

/** A place for one task, until it is given back. */
export interface Slot extends Disposable {
  /** Undefined: this process. */
  readonly member: string | undefined;
}

const WAIT_MS = 100;

/** Gives out places: the instance that has least to do for what it can do comes first, this one before its equals. */
export class Slots {
  readonly #members: (kind: TaskKind) => readonly Worker[];
  readonly #used = new Map<string, number>();

  constructor(members: (kind: TaskKind) => readonly Worker[]) {
    this.#members = members;
  }

  /** How many tasks can be under way with `own` ones in this process. */
  room(kind: TaskKind, own: number): number {
    return this.#members(kind).reduce((sum, { slots }) => sum + slots, own);
  }

  /** How many are under way at an instance. */
  usedBy(member: string | undefined): number {
    return this.#usedOf('copy', member) + this.#usedOf('compare', member);
  }

  /** Waits for a place; `isOwn`: only in this process. */
  async acquire(kind: TaskKind, own: number, isOwn: boolean, signal: AbortSignal): Promise<Slot> {
    for (;;) {
      signal.throwIfAborted();
      const members = isOwn ? [] : this.#members(kind);
      const workers = [{ id: undefined, slots: own }, ...members].filter(
        ({ id, slots }) => this.#usedOf(kind, id) < slots,
      );
      const load = ({ id, slots }: { id: string | undefined; slots: number }): number => this.#usedOf(kind, id) / slots;
      const [first] = workers.sort((a, b) => load(a) - load(b));
      if (first !== undefined) return this.#take(kind, first.id);
      await sleep(WAIT_MS, signal);
    }
  }

  #take(kind: TaskKind, member: string | undefined): Slot {
    const key = keyOf(kind, member);
    this.#used.set(key, this.#usedOf(kind, member) + 1);
    return {
      member,
      [Symbol.dispose]: () => {
        this.#used.set(key, this.#usedOf(kind, member) - 1);
      },
    };
  }

  #usedOf(kind: TaskKind, member: string | undefined): number {
    return this.#used.get(keyOf(kind, member)) ?? 0;
  }
}

function keyOf(kind: TaskKind, member: string | undefined): string {
  return `${kind} ${member ?? ''}`;
}
