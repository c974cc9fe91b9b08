/** Follows one instance that helps, as the coordinator sees it. */
import type { Lease } from '../metadata/lease.js';
import type { InstanceRecord, TaskKind } from './records.js';

/** What an instance has done for this coordinator. */
export interface MemberTotals {
  documents: number;
  bytes: number;
  compared: number;
  /** Change events. */
  applied: number;
}

/** No work of nobody. */
export function noTotals(): MemberTotals {
  return { documents: 0, bytes: 0, compared: 0, applied: 0 };
}

/** An instance that is registered: it has a lease of its own, or had until it was found dead. */
export class Member {
  readonly id: string;
  /** Its lease, to be taken over once it is dead. */
  readonly lease: Lease;
  readonly totals = noTotals();
  isAlive = true;
  #record: InstanceRecord | undefined;

  constructor(id: string, lease: Lease) {
    this.id = id;
    this.lease = lease;
  }

  /** Undefined until it has told anything. */
  get record(): InstanceRecord | undefined {
    return this.#record;
  }

  /** Resolves to whether another process than before has this name now. */
  tell(record: InstanceRecord): boolean {
    const isAnother = this.#record !== undefined && this.#record.incarnation !== record.incarnation;
    this.#record = record;
    this.isAlive = true;
    return isAnother;
  }

  /** Whether it may be given tasks of these orders. */
  works(epoch: string | undefined): boolean {
    const record = this.#record;
    return this.isAlive && record !== undefined && !record.isPaused && epoch !== undefined && record.epoch === epoch;
  }

  /** Tasks at the same time. */
  slots(kind: TaskKind): number {
    return this.#record?.slots[kind] ?? 0;
  }
}
