import type { Timestamp } from '../cluster/bson.js';
import { type StreamStart, secondsOf, type Token } from '../cluster/position.js';
import { ttlRules } from '../cluster/ttl.js';
import { AppError, InvariantError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import { sleep } from '../lib/signals.js';
import { deferred, runWith } from '../lib/tasks.js';
import { traced } from '../lib/trace.js';
import type { VerificationRecord, VerifyRange } from '../metadata/verification-store.js';
import { ChangeReader } from './change-reader.js';
import { isFollowed } from './compare-ids.js';
import type { VerifyContext } from './context.js';
import { DocumentComparison } from './document-comparison.js';
import type { Mismatches } from './mismatches.js';
import { planRanges } from './plan.js';
import type { RangeScanner } from './range-scanner.js';
import { ScanProgress } from './scan-progress.js';
import { scanRange } from './scan-range.js';

const ROUND_MS = 500;
const IDLE_CHECKPOINT_MS = 10_000;
/** Documents found differing that wait to be compared again; the initial hashing pauses beyond it. */
const MAX_QUEUED = 50_000;

/** How far the verification of one side is. */
export interface VerifierSideProgress {
  readonly phase: 'not started' | 'initial hashing' | 'stream hashing';
  readonly estimatedDocuments: number;
  readonly hashedDocuments: number;
  readonly collections: number;
  readonly scannedCollections: number;
  readonly lagSeconds: number | undefined;
}

/** Both sides. */
export interface VerifierProgress {
  readonly source: VerifierSideProgress;
  readonly destination: VerifierSideProgress;
}

interface Readers {
  readonly source: ChangeReader;
  readonly destination: ChangeReader;
}

/**
 * Proves that the destination is the source, independently of what copies and applies: it compares every document's
 * bytes once, by its own reads in its own ranges, and again every document that one of its own two change streams names.
 * A document that keeps differing although nothing changes it is a mismatch.
 *
 * A restart repeats only what was in flight: the streams' positions are stored after what they led to. Memory is bounded
 * by the number of documents that wait, whatever the size of the data. Source: docs/06-verify.md.
 */
export class Verifier {
  readonly #context: VerifyContext;
  readonly #comparison: DocumentComparison;
  readonly #scan = new ScanProgress();
  readonly #scanned = deferred<void>();
  #record: VerificationRecord | undefined;
  #readers: Readers | undefined;
  #hasScanned = false;
  #checkedAt = 0;
  #stored = '';
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: VerifyContext) {
    this.#context = context;
    this.#comparison = new DocumentComparison(context);
  }

  get mismatches(): Mismatches {
    return this.#comparison.mismatches;
  }

  get progress(): VerifierProgress {
    const { estimated, source, destination, collections, collectionsDone } = this.#scan.totals;
    const phase = this.#readers === undefined ? 'not started' : this.#hasScanned ? 'stream hashing' : 'initial hashing';
    const common = { phase, estimatedDocuments: estimated, collections, scannedCollections: collectionsDone } as const;
    return {
      source: { ...common, hashedDocuments: source, lagSeconds: this.#lagOf('source') },
      destination: { ...common, hashedDocuments: destination, lagSeconds: this.#lagOf('destination') },
    };
  }

  /** Why a commit would have to wait, or would fail, now. */
  obstacle(maxLagSeconds: number): string | undefined {
    if (!this.#hasScanned) return 'the documents of both sides are being compared for the first time';
    if (this.mismatches.total > 0) return `${this.mismatches.text}; "mongoferry mismatches" lists them`;
    const lags = [this.#lagOf('source'), this.#lagOf('destination')];
    const lag = Math.max(...lags.map((each) => each ?? Number.POSITIVE_INFINITY));
    return lag > maxLagSeconds ? `the verifier is ${lag} seconds behind` : undefined;
  }

  /** Verifies until `signal` aborts; goes on where an earlier process was. */
  async run(signal: AbortSignal): Promise<void> {
    const record = await this.#begin(signal);
    const { source, destination, logger } = this.#context;
    const common = { dirty: this.#comparison.dirty, logger };
    const readers = {
      source: new ChangeReader(source, 'source', startOf(record.sourceToken, record.sourceStart), common),
      destination: new ChangeReader(
        destination,
        'destination',
        startOf(record.destinationToken, record.destinationStart),
        common,
      ),
    };
    this.#readers = readers;
    this.#context.onChange();
    await runWith(
      (inner) => this.#keepComparing(inner),
      [
        (inner) => readers.source.run(inner),
        (inner) => readers.destination.run(inner),
        (inner) => traced('initial hashing', {}, () => this.#scanAll(inner)),
      ],
      signal,
    );
  }

  /**
   * Compares all that is still to be compared, when the source is written to no longer: everything up to `time` on the
   * source, and all that anyone has written to the destination. What differs then is in `mismatches`.
   */
  async settle(time: Timestamp, signal: AbortSignal): Promise<void> {
    this.#refuseExpiry();
    await Promise.race([this.#scanned.promise, rejection(signal)]);
    const readers = this.#mustRead();
    const end = await this.#context.mark(this.#context.destination, signal);
    while (!readers.source.hasReached(time) || !readers.destination.hasReached(end)) {
      // The readers stop when too many documents wait.
      await this.#exclusively(() => this.#round(signal));
      await sleep(20, signal);
    }
    await this.#exclusively(() => this.#comparison.judge(signal));
  }

  /** Compares the known mismatches again. */
  async recheckMismatches(signal: AbortSignal): Promise<void> {
    await this.#exclusively(() => this.#comparison.recheckMismatches(signal));
    this.#context.onChange();
  }

  #lagOf(side: keyof Readers): number | undefined {
    const now = this.#context[side].now;
    const time = this.#readers?.[side].time;
    return now === undefined || time === undefined ? undefined : Math.max(0, secondsOf(now) - secondsOf(time));
  }

  #mustRead(): Readers {
    if (this.#readers === undefined) throw new InvariantError('the verifier has not begun');
    return this.#readers;
  }

  async #begin(signal: AbortSignal): Promise<VerificationRecord> {
    const { store, source, destination, mark } = this.#context;
    let record = await store.load(signal);
    if (record === undefined) {
      record = {
        sourceStart: await mark(source, signal),
        destinationStart: await mark(destination, signal),
        sourceToken: undefined,
        destinationToken: undefined,
        planned: false,
      };
      await store.save(record, signal);
    }
    this.#record = record;
    await this.#comparison.load(signal);
    return record;
  }

  async #scanAll(signal: AbortSignal): Promise<void> {
    const { store, source, collections, parallelRanges, logger } = this.#context;
    if (this.#record?.planned !== true) {
      const followed = collections.live().filter((each) => isFollowed(each, this.#context));
      await store.saveRanges(await planRanges(source, followed, signal), signal);
      await this.#exclusively(() => this.#save({ planned: true }, signal));
    }
    const ranges = await store.loadRanges(signal);
    this.#scan.load(ranges);
    const open = ranges.filter((range) => !range.done);
    if (open.length > 0) logger.info('Comparing the documents of both sides', { ranges: open.length });
    if (open.length > 0) await this.#scanRanges(open, parallelRanges, signal);
    this.#hasScanned = true;
    this.#scanned.resolve();
    logger.info('Every document has been compared; following the changes');
    this.#context.onChange();
  }

  async #scanRanges(ranges: readonly VerifyRange[], parallelRanges: number, signal: AbortSignal): Promise<void> {
    const documents = ranges.reduce((sum, range) => sum + range.estimatedDocuments, 0);
    const scanner = await this.#context.startScanner(documents);
    try {
      await mapLimit(ranges, parallelRanges, (range, inner) => this.#scanOne(scanner, range, inner), signal);
    } finally {
      await scanner.close();
    }
  }

  async #scanOne(scanner: RangeScanner, range: VerifyRange, signal: AbortSignal): Promise<void> {
    const { store } = this.#context;
    const { queue } = this.#comparison;
    let sourceDocuments = 0;
    let destinationDocuments = 0;
    await scanRange(
      this.#context,
      scanner,
      range,
      {
        onRead: (source, destination) => {
          sourceDocuments += source;
          destinationDocuments += destination;
          this.#scan.read(source, destination);
        },
        onDiffering: async (ids) => {
          queue.add(range.collection, ids);
          while (queue.size > MAX_QUEUED) await sleep(ROUND_MS, signal);
        },
      },
      signal,
    );
    // What differed must be stored before the range counts as done.
    await this.#exclusively(() => queue.store(signal));
    await store.saveRanges([{ ...range, done: true, sourceDocuments, destinationDocuments }], signal);
    this.#scan.rangeDone(range.collection);
  }

  async #keepComparing(signal: AbortSignal): Promise<void> {
    for (;;) {
      this.#refuseExpiry();
      await sleep(ROUND_MS, signal);
      const isIdle = this.#comparison.isIdle && performance.now() - this.#checkedAt < IDLE_CHECKPOINT_MS;
      if (!isIdle) await this.#exclusively(() => this.#round(signal));
    }
  }

  /** mongosync's rule: with `buildIndexes: "never"`, verification fails as soon as there is a TTL collection. */
  #refuseExpiry(): void {
    if (!this.#context.buildsNoIndexes) return;
    const found = this.#context.collections.live().find((each) => ttlRules(each.options, each.indexes).length > 0);
    if (found === undefined) return;
    throw new AppError(
      'UnsupportedChange',
      `${found.name} has become a TTL collection, which verification does not permit with buildIndexes "never"`,
    );
  }

  async #round(signal: AbortSignal): Promise<void> {
    const readers = this.#mustRead();
    // Taken before the documents are: what is read meanwhile belongs to the next round.
    const sourceToken = readers.source.token;
    const destinationToken = readers.destination.token;
    if (!this.#comparison.isIdle) await this.#comparison.compareChanged(readers.source.time, signal);
    await this.#comparison.queue.store(signal);
    await this.#save({ sourceToken, destinationToken }, signal);
    this.#checkedAt = performance.now();
  }

  async #save(changes: Partial<VerificationRecord>, signal: AbortSignal): Promise<void> {
    if (this.#record === undefined) throw new InvariantError('the verifier has not begun');
    const next = { ...this.#record, ...changes };
    const text = `${next.sourceToken} ${next.destinationToken} ${next.planned}`;
    if (text === this.#stored) return;
    await this.#context.store.save(next, signal);
    this.#record = next;
    this.#stored = text;
  }

  /** One after the other: rounds, the ends of ranges and the last comparison share the queue and the record. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

function startOf(token: Token | undefined, time: Timestamp): StreamStart {
  return token === undefined ? { time } : { token };
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
