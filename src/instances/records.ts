/** Declares what instances tell each other by documents in the metadata database. */
import type { Doc } from '../bson/bson.js';

/** Calls that take effect once every instance has been given them. */
export type GatheredEvent = 'commit' | 'reverse';

/** A call that an instance has been given. */
export interface GivenCall {
  readonly event: GatheredEvent;
  /** The coordinator's count of calls that were carried out: one of an earlier round counts no more. */
  readonly round: number;
  /** Whether it counts for all instances (`--coordinated`). */
  readonly forAll: boolean;
}

/** What a task is about. */
export type TaskKind = 'copy' | 'compare' | 'apply';

/** How far an instance is with a task. Counts are from the task's beginning. */
export interface TaskReport {
  readonly id: string;
  /** Written, of a copy: documents and bytes. Read on the source and on the destination, of a comparison. */
  readonly counts: readonly [number, number];
  /** Of a copy: where it may go on, as plain text. */
  readonly place?: string;
  /** Of a comparison: differing documents as plain text, and the number of that page. The next one waits until it is taken. */
  readonly page?: string;
  readonly pageNumber: number;
  /** The answer, as plain text. */
  readonly end?: string;
  /** Why it is given back. */
  readonly handedBack?: string;
  /** Whether it would be given back again by anybody but the coordinator. */
  readonly failed?: boolean;
}

/** What an instance that helps tells: one document, which only it writes, under its own lease. */
export interface InstanceRecord {
  /** Its `--id`. */
  readonly id: string;
  /** Of one process: another one of that name has another. */
  readonly incarnation: string;
  readonly isPaused: boolean;
  /** The orders under which it works: nothing that was ordered before goes on. */
  readonly epoch: string;
  /** How many tasks it does at the same time, of each kind. */
  readonly slots: Readonly<Record<TaskKind, number>>;
  readonly calls: readonly GivenCall[];
  readonly work: readonly TaskReport[];
}

/** What the coordinator orders: tasks of any other epoch end. */
export interface Orders {
  readonly epoch: string;
  readonly round: number;
}

/** One task for one instance: a document that only the coordinator writes. */
export interface TaskRecord {
  readonly id: string;
  readonly to: string;
  readonly kind: TaskKind;
  /** Plain text. */
  readonly task: string;
  /** The last page that was taken. */
  readonly taken: number;
}

/** The collections, and the documents of fixed names. */
export const INSTANCES = 'instances';
export const TASKS = 'tasks';
export const ORDERS = 'orders';
export const STATUS = 'status';

/** The document of a record whose `id` is its `_id`. */
export function toDoc({ id, ...fields }: InstanceRecord | TaskRecord): Doc {
  return { _id: id, ...fields };
}

/** The record of such a document: what was written there by `toDoc`. */
export function fromDoc<T extends InstanceRecord | TaskRecord>({ _id, ...fields }: Doc): T {
  return { id: String(_id), ...fields } as unknown as T;
}

/** The orders among documents of the tasks' collection. */
export function ordersIn(docs: readonly Doc[]): Orders | undefined {
  const doc = docs.find((each) => each['_id'] === ORDERS);
  return doc === undefined ? undefined : { epoch: String(doc['epoch']), round: Number(doc['round']) };
}
