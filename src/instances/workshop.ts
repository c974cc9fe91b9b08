/** Does the tasks that the coordinator gives an instance, and keeps what is to be told of them. */
import { fromPlainText, plainText } from '../lib/plain-text.js';
import { type LinkedAbort, linkAbort, sleep, unlessAborted } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import type { TaskKind, TaskRecord, TaskReport } from './records.js';

/** What a task tells while it is done. */
export interface TaskEvents {
  readonly count: (first: number, second: number) => void;
  /** Where it may go on from. */
  readonly place: (place: unknown) => void;
  /** Resolves once the coordinator has taken it. */
  readonly page: (page: unknown) => Promise<void>;
}

/** Does tasks of one kind; resolves with the answer. */
export type TaskDoer = (task: unknown, events: TaskEvents, signal: AbortSignal) => Promise<unknown>;

type Report = { -readonly [Name in keyof TaskReport]: TaskReport[Name] };

interface Work {
  readonly task: TaskRecord;
  readonly report: Report;
  readonly link: LinkedAbort;
  readonly ended: Deferred<void>;
  /** Of the page that is not taken yet. */
  untaken: Deferred<void> | undefined;
}

/**
 * The tasks of one instance: so many of a kind at a time, in the order in which they are given; ended when they are taken
 * away.
 */
export class Workshop {
  readonly #doers: Readonly<Record<TaskKind, TaskDoer>>;
  readonly #slots: Readonly<Record<TaskKind, number>>;
  readonly #work = new Map<string, Work>();
  /** By kind: those that are not begun. */
  readonly #waiting = new Map<TaskKind, Work[]>();
  readonly #underWay = new Map<TaskKind, number>();
  readonly #signal: AbortSignal;
  /** Of what was told: grows with each change that the coordinator waits for. */
  #news = 0;
  #onNews = (): void => undefined;

  /** `slots`: how many of each kind are done at the same time. */
  constructor(
    doers: Readonly<Record<TaskKind, TaskDoer>>,
    slots: Readonly<Record<TaskKind, number>>,
    signal: AbortSignal,
  ) {
    this.#doers = doers;
    this.#slots = slots;
    this.#signal = signal;
  }

  get reports(): readonly TaskReport[] {
    return [...this.#work.values()].map(({ report }) => ({ ...report }));
  }

  /** Whether nothing is being done. */
  get isIdle(): boolean {
    return this.#work.size === 0;
  }

  /** Changes whenever a task has ended or waits for the coordinator. */
  get news(): number {
    return this.#news;
  }

  /** Resolves after so many milliseconds, or as soon as there is more news than `known`. */
  async newsWithin(ms: number, known: number, signal: AbortSignal): Promise<void> {
    if (this.#news !== known) return;
    using link = linkAbort(signal);
    this.#onNews = () => link.abort(new Error('there is news'));
    try {
      await sleep(ms, link.signal);
    } catch (error) {
      if (signal.aborted || this.#news === known) throw error;
    }
  }

  #tellNews(): void {
    this.#news++;
    this.#onNews();
  }

  /** These are the tasks now: new ones begin, others end and are forgotten. `isPaused`: new ones are given back. */
  set(tasks: readonly TaskRecord[], isPaused: boolean): void {
    const given = new Set(tasks.map(({ id }) => id));
    for (const [id, work] of this.#work) if (!given.has(id)) this.#forget(id, work);
    for (const task of tasks) {
      const work = this.#work.get(task.id);
      if (work === undefined) this.#begin(task, isPaused);
      else if (task.taken >= work.report.pageNumber) this.#taken(work);
    }
  }

  /** Ends what is being done, and resolves once it has ended. It is given back. */
  async stop(): Promise<void> {
    const works = [...this.#work.values()];
    for (const { link } of works) link.abort(new Error('the instance works no more'));
    await Promise.all(works.map(({ ended }) => ended.promise));
  }

  /** Forgets everything. Precondition: it is stopped. */
  clear(): void {
    this.#work.clear();
  }

  #begin(task: TaskRecord, isPaused: boolean): void {
    const report: Report = { id: task.id, counts: [0, 0], pageNumber: 0 };
    const link = linkAbort(this.#signal);
    if (isPaused) link.abort(new Error('the instance is paused'));
    const work: Work = { task, report, link, untaken: undefined, ended: deferred() };
    this.#work.set(task.id, work);
    const waiting = this.#waiting.get(task.kind) ?? [];
    this.#waiting.set(task.kind, [...waiting, work]);
    this.#beginNext(task.kind);
  }

  /** What was taken away while it waited ends when its turn comes. */
  #beginNext(kind: TaskKind): void {
    const underWay = this.#underWay.get(kind) ?? 0;
    const next = underWay < this.#slots[kind] ? this.#waiting.get(kind)?.shift() : undefined;
    if (next === undefined) return;
    this.#underWay.set(kind, underWay + 1);
    void this.#do(next).finally(() => {
      this.#underWay.set(kind, (this.#underWay.get(kind) ?? 0) - 1);
      next.ended.resolve();
      this.#beginNext(kind);
    });
  }

  /** Never rejects. */
  async #do({ task, report, link }: Work): Promise<void> {
    try {
      link.signal.throwIfAborted();
      report.end = plainText(
        await this.#doers[task.kind](fromPlainText(task.task), this.#events(task.id), link.signal),
      );
    } catch (error) {
      report.handedBack = error instanceof Error ? error.message : String(error);
      report.failed = !link.signal.aborted;
    } finally {
      link.dispose();
      this.#tellNews();
    }
  }

  #events(id: string): TaskEvents {
    const of = (): Work | undefined => this.#work.get(id);
    return {
      count: (first, second) => {
        const report = of()?.report;
        if (report !== undefined) report.counts = [report.counts[0] + first, report.counts[1] + second];
      },
      place: (place) => {
        const report = of()?.report;
        if (report !== undefined) report.place = plainText(place);
      },
      page: async (page) => {
        const work = of();
        if (work === undefined) return;
        work.untaken = deferred();
        work.report.page = plainText(page);
        work.report.pageNumber++;
        this.#tellNews();
        await unlessAborted(work.untaken.promise, work.link.signal);
      },
    };
  }

  #taken({ report, untaken }: Work): void {
    if (untaken === undefined || report.page === undefined) return;
    delete report.page;
    untaken.resolve();
  }

  #forget(id: string, work: Work): void {
    work.link.abort(new Error('the task was taken away'));
    void work.ended.promise.then(() => this.#work.delete(id));
  }
}
