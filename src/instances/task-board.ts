/** Hands tasks to instances that help, and hears what became of them. */
import type { Doc } from '../bson/bson.js';
import { fromPlainText, plainText } from '../lib/plain-text.js';
import { unlessAborted } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import type { InstanceRecord, TaskKind, TaskRecord, TaskReport } from './records.js';
import { TASKS, toDoc } from './records.js';

/** A task was not done, or not to its end. */
export class HandedBack extends Error {
  override readonly name = 'HandedBack';
  /** Whether another instance would fail like that one. */
  readonly failed: boolean;

  constructor(text: string, failed: boolean) {
    super(text);
    this.failed = failed;
  }
}

/** What is heard of a task under way. */
export interface TaskListener {
  /** Since the last time. */
  readonly counted: (first: number, second: number) => void;
  readonly placed?: (place: unknown) => Promise<void>;
  readonly paged?: (page: unknown) => Promise<void>;
}

/** Where tasks are stored. */
export interface TaskStore {
  putDocuments(coll: string, docs: readonly Doc[], signal: AbortSignal): Promise<void>;
  deleteDocuments(coll: string, ids: readonly string[], signal: AbortSignal): Promise<void>;
}

interface Entry {
  readonly task: TaskRecord;
  readonly listener: TaskListener;
  readonly ended: Deferred<unknown>;
  counts: readonly [number, number];
  place: string | undefined;
  pageNumber: number;
  /** Whether what was heard last is being worked on. */
  isBusy: boolean;
}

/**
 * The coordinator's side of the tasks: each is a document that the coordinator writes and removes; how far it is stands
 * in the document of the instance that does it. So each document has one writer.
 */
export class TaskBoard {
  readonly #store: TaskStore;
  readonly #entries = new Map<string, Entry>();
  /** Tasks that are over and still stored. */
  readonly #stale = new Set<string>();
  #count = 0;

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /** Whether any task is under way. */
  get isIdle(): boolean {
    return this.#entries.size === 0;
  }

  /**
   * Has an instance do a task under the present orders. Resolves with its answer. Errors: HandedBack; the signal's
   * reason, at once: the instance is told, and may go on a moment longer.
   */
  async call(
    { to, kind, epoch, task }: { to: string; kind: TaskKind; epoch: string; task: unknown },
    listener: TaskListener,
    signal: AbortSignal,
  ): Promise<unknown> {
    const record = { id: `${epoch}/${++this.#count}`, to, kind, task: plainText(task), taken: 0 };
    const entry: Entry = {
      ...{ task: record, listener, ended: deferred<unknown>() },
      ...{ counts: [0, 0], place: undefined, pageNumber: 0, isBusy: false },
    };
    this.#entries.set(record.id, entry);
    try {
      await this.#store.putDocuments(TASKS, [toDoc(record)], signal);
      return await unlessAborted(entry.ended.promise, signal);
    } finally {
      this.#entries.delete(record.id);
      this.#stale.add(record.id);
    }
  }

  /** What an instance tells of its tasks. */
  hear({ id, work }: Pick<InstanceRecord, 'id' | 'work'>, signal: AbortSignal): void {
    for (const report of work) {
      const entry = this.#entries.get(report.id);
      if (entry === undefined || entry.task.to !== id || entry.isBusy) continue;
      entry.isBusy = true;
      void this.#hearOne(entry, report, signal)
        .catch((error: unknown) => entry.ended.reject(error))
        .finally(() => {
          entry.isBusy = false;
        });
    }
  }

  /** An instance does none of its tasks any more. Precondition: nothing of them can take effect any more. */
  giveUp(instance: string, text: string): void {
    for (const entry of this.#entries.values())
      if (entry.task.to === instance) entry.ended.reject(new HandedBack(text, false));
  }

  /** No instance does anything of earlier orders any more. */
  giveUpEarlier(epoch: string, text: string): void {
    for (const { task, ended } of this.#entries.values())
      if (!task.id.startsWith(`${epoch}/`)) ended.reject(new HandedBack(text, false));
  }

  async #hearOne(entry: Entry, report: TaskReport, signal: AbortSignal): Promise<void> {
    const { listener } = entry;
    const [first, second] = report.counts;
    const [first0, second0] = entry.counts;
    entry.counts = report.counts;
    if (first !== first0 || second !== second0) listener.counted(first - first0, second - second0);
    if (report.place !== undefined && report.place !== entry.place) {
      entry.place = report.place;
      await listener.placed?.(fromPlainText(report.place));
    }
    if (report.page !== undefined && report.pageNumber > entry.pageNumber) {
      await listener.paged?.(fromPlainText(report.page));
      entry.pageNumber = report.pageNumber;
      await this.#store.putDocuments(TASKS, [toDoc({ ...entry.task, taken: report.pageNumber })], signal);
    }
    if (report.handedBack !== undefined) entry.ended.reject(new HandedBack(report.handedBack, report.failed === true));
    else if (report.end !== undefined) entry.ended.resolve(fromPlainText(report.end));
  }

  /** Removes the tasks that are over: the instance ends them, if it has not, and forgets them. */
  async sweep(signal: AbortSignal): Promise<void> {
    const ids = [...this.#stale];
    if (ids.length === 0) return;
    await this.#store.deleteDocuments(TASKS, ids, signal);
    for (const id of ids) this.#stale.delete(id);
  }
}
