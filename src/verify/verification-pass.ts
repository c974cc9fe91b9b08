/** Runs one verification, from its positions in both change streams until one of them is lost. */
import type { Timestamp } from '../bson/bson.js';
import { Position, secondsOf } from '../bson/position.js';
import { InvariantError } from '../errors.js';
import { PushBack } from '../lib/push-back.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { beat, linkAbort, settlesWithin, sleep } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import { traced } from '../lib/trace.js';
import type { VerificationRecord } from '../metadata/verification-store.js';
import { queueMeters } from '../metrics-queues.js';
import { Backlog, type ReadUpTo } from './backlog.js';
import { ChangeReader } from './change-reader.js';
import type { VerifyContext } from './context.js';
import { countIds, DirtySet, type IdLimits } from './dirty-set.js';
import { DocumentComparison } from './document-comparison.js';
import { InitialHashing } from './initial-hashing.js';
import { interruptedCopies, mendOrder } from './order-check.js';

const ROUND_MS = 500;
const IDLE_CHECKPOINT_MS = 10_000;
/** How long a round waits for the applier before what it has taken goes to the backlog. */
const PATIENCE_MS = 1500;
const BACKLOG_PATIENCE_MS = 100;
/** What the streams have named and no round has taken yet. */
const DIRTY_LIMITS: IdLimits = { documents: 50_000, bytes: 16 * 1024 * 1024 };

/** The two sides of a verification. */
export type SideName = 'source' | 'destination';

/**
 * One verification, from its positions in the streams on: the initial hashing, the two readers, and round after round
 * the comparison of what they named. It lives until one of the streams loses its position.
 *
 * Why it does not simply compare what a stream names: the verifier's readers are often ahead of the applier. A document
 * that the source has just changed is still old on the destination, and comparing it would find a difference that means
 * nothing. If the readers waited for the applier instead, an applier that is hours behind would hold them back until
 * their own positions had left the oplog. So the readers never wait: what the applier has not reached is stored in the
 * backlog (with the source's time of that moment) and compared once the applier has passed that time.
 *
 * One round: take the documents that were named; if the applier is there within {@link PATIENCE_MS}, compare them, else
 * put them into the backlog; then store the queue, and only then the positions that the round began with; then work on
 * the backlog as far as the applier is.
 *
 * Example: the reader names `_id` 7 at source time 100, and the applier is at 60. Document 7 goes into the backlog for
 * time 100 and the position behind 100 is stored. The process dies. The next one reads the stream from behind 100,
 * where nothing names 7 any more; it finds 7 in the backlog and compares it once its applier has passed 100.
 *
 * Invariant: everything that a stream named before a stored position was found equal, or is in the stored queue, or is
 * a stored mismatch, or is in the backlog. Positions and time run forward only. Rounds do not overlap (`#rounds`).
 */
export class VerificationPass {
  readonly comparison: DocumentComparison;
  readonly hashing: InitialHashing;
  readonly #context: VerifyContext;
  readonly #dirty: DirtySet;
  readonly #backlog: Backlog;
  readonly #readers: Readonly<Record<SideName, ChangeReader>>;
  readonly #rounds = new SerialQueue();
  readonly #saves = new SerialQueue();
  #record: VerificationRecord;
  #compared: ReadUpTo | undefined;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #orderIsMended = false;
  #interrupted: ReadonlySet<string> = new Set();

  private constructor(context: VerifyContext, record: VerificationRecord) {
    this.#context = context;
    this.#record = record;
    this.comparison = new DocumentComparison(context);
    this.hashing = new InitialHashing(context, this.comparison.queue);
    this.#backlog = new Backlog(context.store);
    const { changes, narrowing, logger } = context;
    const pushBack = new PushBack({ ...queueMeters('documents to verify'), logger });
    this.#dirty = new DirtySet(DIRTY_LIMITS, pushBack);
    const common = { dirty: this.#dirty, narrowing };
    this.#readers = {
      source: new ChangeReader('source', record.sourcePosition, { changes: changes.source, ...common }),
      destination: new ChangeReader('destination', record.destinationPosition, {
        changes: changes.destination,
        ...common,
      }),
    };
  }

  /** Takes the positions an earlier process stored, or new ones. */
  static async begin(context: VerifyContext, signal: AbortSignal): Promise<VerificationPass> {
    const { store, source, destination, takeTime } = context;
    let record = await store.load(signal);
    if (record === undefined) {
      // What is left of an earlier one would be taken for this one's.
      await store.clear(signal);
      const [sourceStart, destinationStart] = [await takeTime(source, signal), await takeTime(destination, signal)];
      record = {
        sourceStart,
        destinationStart,
        sourcePosition: Position.startAt(sourceStart),
        destinationPosition: Position.startAt(destinationStart),
        planned: false,
      };
      await store.save(record, signal);
    }
    const pass = new VerificationPass(context, record);
    await pass.comparison.load(signal);
    await pass.#backlog.load(record.backlogNext ?? 0, signal);
    pass.#interrupted = await interruptedCopies(context, signal);
    return pass;
  }

  /** Seconds between a cluster's time and that up to which all its changes have been compared. */
  lagOf(side: SideName): number | undefined {
    const now = this.#context[side].now;
    const time = this.#backlog.isEmpty ? this.#readers[side].time : this.#compared?.[side];
    return now === undefined || time === undefined ? undefined : Math.max(0, secondsOf(now) - secondsOf(time));
  }

  /** Whether everything has been compared once, and capped collections have the source's order. */
  get isComplete(): boolean {
    return this.hashing.isDone && this.#orderIsMended;
  }

  /** Documents compared again, those that wait included. */
  get waiting(): number {
    return this.#dirty.size + this.comparison.queue.size;
  }

  /** Verifies until `signal` aborts. Errors: OplogRolledOver when a stream has lost its position. */
  async run(signal: AbortSignal): Promise<void> {
    const { sourceStart, planned } = this.#record;
    const onPlanned = (inner: AbortSignal): Promise<void> => this.#save({ planned: true }, inner);
    await runWith(
      (inner) => this.#keepComparing(inner),
      [
        (inner) => this.#readers.source.run(inner),
        (inner) => this.#readers.destination.run(inner),
        (inner) =>
          traced('initial hashing', {}, () => this.hashing.run({ sourceStart, isPlanned: planned, onPlanned }, inner)),
        (inner) => this.#mendOrder(inner),
      ],
      signal,
    );
  }

  /**
   * Compares all that is still to be compared, when the source is written to no longer: everything up to `time` on the
   * source, and all that anyone has written to the destination up to `end`.
   */
  async compareUpTo(time: Timestamp, end: Timestamp, signal: AbortSignal): Promise<void> {
    // Looked at in the turn that judges: a round before it may have put documents into the backlog. Nobody writes to the
    // source any more, so a document that differs now stays different: one comparison is enough here.
    const isReady = (): boolean => this.isComplete && this.#hasRead(time, end) && this.#backlog.isEmpty;
    const judge = async (): Promise<boolean> => {
      if (!isReady()) return false;
      await this.comparison.judge(this.#dirty.take(), signal);
      return true;
    };
    do {
      while (!this.isComplete) await sleep(ROUND_MS, signal);
      while (!this.#hasRead(time, end) || !this.#backlog.isEmpty) {
        await this.#rounds.run(() => this.#round(signal));
        await sleep(20, signal);
      }
    } while (!(await this.#rounds.run(judge)));
  }

  /** Compares the known mismatches again. */
  recheckMismatches(signal: AbortSignal): Promise<void> {
    return this.#rounds.run(() => this.comparison.recheckMismatches(signal));
  }

  #hasRead(time: Timestamp, end: Timestamp): boolean {
    return this.#readers.source.hasReached(time) && this.#readers.destination.hasReached(end);
  }

  async #mendOrder(signal: AbortSignal): Promise<void> {
    await this.hashing.done(signal);
    await mendOrder(this.#context, this.#interrupted, signal);
    this.#orderIsMended = true;
    this.#context.onChange();
  }

  async #keepComparing(signal: AbortSignal): Promise<void> {
    for (;;) {
      await beat(ROUND_MS, signal);
      const isIdle = this.waiting === 0 && this.#backlog.isEmpty && this.comparison.mismatches.total === 0;
      if (!isIdle || performance.now() - this.#checkedAt >= IDLE_CHECKPOINT_MS)
        await this.#rounds.run(() => this.#round(signal));
    }
  }

  /** Compares what was named since the last round, or stores it to be compared once the applier has got there. */
  async #round(signal: AbortSignal): Promise<void> {
    // Taken before the documents are: what is read meanwhile belongs to the next round.
    const { source, destination } = this.#readers;
    const positions = { sourcePosition: source.position, destinationPosition: destination.position };
    const readUpTo: ReadUpTo = { source: source.time, destination: destination.time };
    const taken = this.#dirty.take();
    const now = this.#context.source.now;
    if (this.#backlog.isEmpty && (now === undefined || (await this.#isApplied(now, PATIENCE_MS, signal)))) {
      const overflow = await this.comparison.compare(taken, readUpTo.source, signal);
      await this.#store(overflow, undefined, signal);
      this.#compared = readUpTo;
    } else {
      await this.#store(taken, readUpTo, signal);
      if (!this.#backlog.holdsNamed) this.#compared = readUpTo;
    }
    await this.#save({ ...positions, backlogNext: this.#backlog.next }, signal);
    await this.#work(signal);
    this.#checkedAt = performance.now();
  }

  /** Compares what is in the backlog, as far as the applier is, until there is new work for the next round. */
  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      const chunk = await this.#backlog.first(signal);
      if (chunk === undefined || !(await this.#isApplied(chunk.time, BACKLOG_PATIENCE_MS, signal))) return;
      const readUpTo = chunk.readUpTo ?? this.#compared;
      const overflow = await this.comparison.compare(chunk.ids, readUpTo?.source, signal);
      await this.#store(overflow, undefined, signal);
      await this.#save({ backlogNext: this.#backlog.next }, signal);
      await this.#backlog.dropFirst(signal);
      this.#compared = readUpTo;
      // Without room in the queue, what is in it is to be judged first: by a round that has read on.
      if (this.#dirty.isFull || countIds(overflow) > 0) return;
    }
  }

  /** Stores the queue, and these documents in the backlog. */
  async #store(ids: ReturnType<DirtySet['take']>, readUpTo: ReadUpTo | undefined, signal: AbortSignal): Promise<void> {
    await this.comparison.queue.store(signal);
    if (countIds(ids) === 0) return;
    const { now } = this.#context.source;
    if (now === undefined) throw new InvariantError('a change was read before the time was known');
    await this.#backlog.add(ids, now, readUpTo, signal);
  }

  async #isApplied(time: Timestamp, ms: number, signal: AbortSignal): Promise<boolean> {
    const link = linkAbort(signal);
    try {
      const applied = this.#context.applied(time, link.signal);
      const isThere = await settlesWithin(applied, ms);
      // Its failure, if it was one.
      if (isThere) await applied;
      return isThere;
    } finally {
      link.abort(new Error('waited long enough'));
      link.dispose();
    }
  }

  #save(changes: Partial<VerificationRecord>, signal: AbortSignal): Promise<void> {
    return this.#saves.run(async () => {
      const next = { ...this.#record, ...changes };
      if (textOf(next) === textOf(this.#record)) return;
      await this.#context.store.save(next, signal);
      this.#record = next;
    });
  }
}

function textOf({ sourcePosition, destinationPosition, planned, backlogNext = 0 }: VerificationRecord): string {
  return `${sourcePosition.toText()} ${destinationPosition.toText()} ${planned} ${backlogNext}`;
}
