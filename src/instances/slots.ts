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

/** Where a task may go. */
export interface Placing {
  /** How many this process does at the same time. */
  readonly own: number;
  /** Only to this process. */
  readonly isOwn: boolean;
  /**
   * So many for each of its slots may an instance be given, of tasks like this one, before it has shown how many it does:
   * for short ones more. 0: a long one, which waits at no instance.
   */
  readonly ahead: number;
  /** The most for each of its slots, however many it does. */
  readonly mostAhead: number;
}

/** The most that `ahead` may be. */
export const MAX_AHEAD = 4;

interface Wanted extends Placing {
  readonly kind: TaskKind;
}

const WAIT_MS = 100;
/** What waits at an instance is what it has ended in so long: longer than it takes to hear of an end and to give the next. */
const AHEAD_MS = 2000;
/** All of them stand in the document of the instance. */
const MAX_WAITING = 200;

/**
 * Gives out places: the instance that has least to do for what it can do comes first, this one before its equals.
 *
 * Between an instance's end of a task and its next one lie several round trips and the waits between the looks of both, a
 * second where the destination is far away. So it has some tasks ahead, as many as it has done lately: little enough not to
 * be waited for at the end.
 */
export class Slots {
  readonly #members: (kind: TaskKind) => readonly Worker[];
  readonly #used = new Map<string, number>();
  /** When places were given back, of the last while. */
  readonly #ended = new Map<string, number[]>();
  /** Who waits, in the order in which they came. */
  readonly #wanted = new Set<Wanted>();
  readonly #nowMs: () => number;

  constructor(members: (kind: TaskKind) => readonly Worker[], nowMs: () => number = () => performance.now()) {
    this.#members = members;
    this.#nowMs = nowMs;
  }

  /** How many tasks can be given out with `own` ones in this process; fewer where they are long or the last ones. */
  room(kind: TaskKind, own: number): number {
    return this.#members(kind).reduce(
      (sum, each) => sum + each.slots + this.#ahead(kind, each, { ahead: MAX_AHEAD, mostAhead: MAX_WAITING }),
      own,
    );
  }

  /** How many are under way at an instance, without those that wait there. */
  usedBy(member: string | undefined): number {
    const underWay = (kind: TaskKind): number => {
      const { slots = Number.POSITIVE_INFINITY } = this.#members(kind).find(({ id }) => id === member) ?? {};
      return Math.min(slots, this.#usedOf(kind, member));
    };
    return underWay('copy') + underWay('compare');
  }

  /** Waits for a place. Nobody takes the one that somebody before him waits for. */
  async acquire(kind: TaskKind, placing: Placing, signal: AbortSignal): Promise<Slot> {
    const wanted: Wanted = { kind, ...placing };
    this.#wanted.add(wanted);
    try {
      for (;;) {
        signal.throwIfAborted();
        const found = this.#find(wanted);
        if (found !== undefined) return this.#take(kind, found.id);
        await sleep(WAIT_MS, signal);
      }
    } finally {
      this.#wanted.delete(wanted);
    }
  }

  #find(wanted: Wanted): { readonly id: string | undefined } | undefined {
    const { kind, own, isOwn } = wanted;
    const before = [...this.#wanted].slice(0, [...this.#wanted].indexOf(wanted)).filter((each) => each.kind === kind);
    // What waits for an instance that has nothing else to do would wait for ever if others were queued there meanwhile.
    if (!isOwn && before.some((each) => !each.isOwn && each.ahead === 0)) return undefined;
    const isOwnWanted = before.some((each) => each.isOwn);
    const members = isOwn ? [] : this.#members(kind);
    const workers = [
      { id: undefined, slots: own, most: isOwnWanted && !isOwn ? 0 : own },
      ...members.map((each) => ({ ...each, most: each.slots + this.#ahead(kind, each, wanted) })),
    ].filter(({ id, most }) => this.#usedOf(kind, id) < most);
    const load = ({ id, slots }: (typeof workers)[number]): number => this.#usedOf(kind, id) / slots;
    return workers.sort((a, b) => load(a) - load(b))[0];
  }

  #take(kind: TaskKind, member: string | undefined): Slot {
    const key = keyOf(kind, member);
    this.#used.set(key, this.#usedOf(kind, member) + 1);
    return {
      member,
      [Symbol.dispose]: () => {
        this.#used.set(key, this.#usedOf(kind, member) - 1);
        if (member !== undefined) this.#ended.set(key, [...this.#lately(key), this.#nowMs()].slice(-MAX_WAITING));
      },
    };
  }

  #ahead(kind: TaskKind, { id, slots }: Worker, { ahead, mostAhead }: Pick<Placing, 'ahead' | 'mostAhead'>): number {
    if (ahead === 0) return 0;
    const lately = this.#lately(keyOf(kind, id)).length;
    return Math.min(MAX_WAITING, slots * mostAhead, Math.max(slots * ahead, lately));
  }

  #lately(key: string): readonly number[] {
    const sinceMs = this.#nowMs() - AHEAD_MS;
    return (this.#ended.get(key) ?? []).filter((ms) => ms >= sinceMs);
  }

  #usedOf(kind: TaskKind, member: string | undefined): number {
    return this.#used.get(keyOf(kind, member)) ?? 0;
  }
}

function keyOf(kind: TaskKind, member: string | undefined): string {
  return `${kind} ${member ?? ''}`;
}
