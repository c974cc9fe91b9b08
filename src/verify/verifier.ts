/** Proves that the destination equals the source, by reads of its own. */
import type { Timestamp } from '../bson/bson.js';
import { ttlRules } from '../catalog/ttl.js';
import { AppError } from '../errors.js';
import { aborted, beat, linkAbort } from '../lib/signals.js';
import { type Deferred, deferred, runWith } from '../lib/tasks.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { PassContext, VerifyContext } from './context.js';
import { storeForLater } from './initial-hashing.js';
import { Mismatches } from './mismatches.js';
import { type SideName, VerificationPass } from './verification-pass.js';
import { NOT_COMPARED, NOT_STARTED, type VerifierProgress, type VerifierView } from './verifier-view.js';

const EXPIRY_WATCH_MS = 500;

/**
 * Proves that the destination is the source, independently of what copies and applies: it compares every document's
 * bytes once, by its own reads in its own ranges, and again every document that one of its own two change streams names.
 * A document that keeps differing although nothing changes it is a mismatch.
 *
 * A restart repeats only what was in flight: the streams' positions are stored after what they led to. When a stream has
 * lost its position, everything is compared anew. Memory is bounded in documents and bytes that wait, whatever the size
 * of the data. Source: docs/06-verify.md.
 */
export class Verifier implements VerifierView {
  readonly #context: PassContext;
  readonly #none: Mismatches;
  #pass: VerificationPass | undefined;
  /** Resolved and replaced whenever there is another pass. */
  #change: Deferred<void> = deferred();

  constructor(context: VerifyContext) {
    const { recopy } = context;
    this.#context =
      recopy === undefined ? context : { ...context, copyAgain: (each, signal) => this.#recopy(recopy, each, signal) };
    this.#none = new Mismatches(context.store);
  }

  get mismatches(): Mismatches {
    return this.#pass?.comparison.mismatches ?? this.#none;
  }

  /** Documents on the destination only that had expired, when all was compared last. By collection id. */
  get pending(): ReadonlyMap<string, number> {
    return this.#pass?.comparison.pending ?? new Map();
  }

  get progress(): VerifierProgress {
    const pass = this.#pass;
    if (pass === undefined) return { source: NOT_STARTED, destination: NOT_STARTED };
    const { estimated, source, destination, collections, collectionsDone } = pass.hashing.progress.totals;
    const phase = pass.hashing.isDone ? 'stream hashing' : 'initial hashing';
    const common = { phase, estimatedDocuments: estimated, collections, scannedCollections: collectionsDone } as const;
    return {
      source: { ...common, hashedDocuments: source, lagSeconds: pass.lagOf('source') },
      destination: { ...common, hashedDocuments: destination, lagSeconds: pass.lagOf('destination') },
    };
  }

  /** Documents of one collection that the initial hashing has read. */
  hashedOf(collection: string): number {
    return this.#pass?.hashing.progress.hashedOf(collection) ?? 0;
  }

  /** Why a commit would have to wait, or would fail, now. */
  obstacle(maxLagSeconds: number): string | undefined {
    const pass = this.#pass;
    if (pass === undefined || !pass.hashing.isDone) return NOT_COMPARED;
    if (this.mismatches.total > 0) return `${this.mismatches.text}; "mongoferry mismatches" lists them`;
    if (!pass.isComplete) return 'the order of capped collections is being compared';
    const { suspects } = pass.comparison.queue;
    if (suspects > 0) return `${suspects} ${suspects === 1 ? 'document differs' : 'documents differ'} at the moment`;
    const sides: readonly SideName[] = ['source', 'destination'];
    const lag = Math.max(...sides.map((each) => pass.lagOf(each) ?? Number.POSITIVE_INFINITY));
    if (lag <= maxLagSeconds) return undefined;
    return Number.isFinite(lag) ? `the verifier is ${lag} seconds behind` : 'the verifier is behind';
  }

  /** Verifies until `signal` aborts; goes on where an earlier process was. */
  async run(signal: AbortSignal): Promise<void> {
    await runWith((inner) => this.#keepVerifying(inner), [(inner) => this.#watchExpiry(inner)], signal);
  }

  /**
   * Compares all that is still to be compared, when the source is written to no longer: everything up to `time` on the
   * source, and all that anyone has written to the destination up to `end`. What differs then is in `mismatches`.
   */
  async compareUpTo(time: Timestamp, end: Timestamp, signal: AbortSignal): Promise<void> {
    this.#refuseExpiry();
    for (;;) {
      const pass = this.#pass;
      const change = this.#change.promise;
      if (pass !== undefined && (await this.#comparedIn(pass, { time, end }, change, signal))) return;
      if (pass === undefined) await Promise.race([change, aborted(signal)]);
      signal.throwIfAborted();
    }
  }

  /** Begins to note which capped collections are written to; call once all was compared. */
  watchCappedWrites(): void {
    this.#pass?.comparison.watchCappedWrites();
  }

  /** Whether a capped collection may have been written to since `watchCappedWrites`, as far as the streams are read. */
  mayHaveCappedWrites(collection: string): boolean {
    return this.#pass?.comparison.mayHaveCappedWrites(collection) ?? true;
  }

  /** Compares the known mismatches again. */
  async recheckMismatches(signal: AbortSignal): Promise<void> {
    await this.#pass?.recheckMismatches(signal);
    this.#context.onChange();
  }

  /** Has a collection compared as a whole again, for which `copy` copies it anew without change events. */
  async whileCopied<T>(collection: MigratedCollection, copy: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#pass !== undefined) return this.#pass.hashing.whileCopied(collection, copy, signal);
    await storeForLater(this.#context, collection, signal);
    return copy();
  }

  /** Copies a collection again while nothing is applied to it; it is compared as a whole after that. */
  async copyAgain(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    await this.#context.copyAgain?.(collection, signal);
  }

  async #recopy(
    { withoutApplying, copy }: NonNullable<VerifyContext['recopy']>,
    { id }: MigratedCollection,
    signal: AbortSignal,
  ): Promise<void> {
    await withoutApplying(id, (collection) => this.whileCopied(collection, () => copy(collection, signal), signal));
  }

  async #keepVerifying(signal: AbortSignal): Promise<void> {
    for (;;) {
      const pass = await VerificationPass.begin(this.#context, signal);
      this.#turnTo(pass);
      try {
        await pass.run(signal);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'OplogRolledOver') throw error;
        this.#context.onWarning(
          'The verifier fell behind further than an oplog reaches back, so it compares every document again',
        );
        this.#context.logger.info(`The verification starts again from the beginning: ${error.message}`);
        this.#turnTo(undefined);
        await this.#context.store.clear(signal);
      }
    }
  }

  #turnTo(pass: VerificationPass | undefined): void {
    this.#pass = pass;
    const change = this.#change;
    this.#change = deferred();
    change.resolve();
    this.#context.onChange();
  }

  /** False when the pass has ended first. */
  async #comparedIn(
    pass: VerificationPass,
    { time, end }: { readonly time: Timestamp; readonly end: Timestamp },
    change: Promise<void>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const link = linkAbort(signal);
    const settled = pass.compareUpTo(time, end, link.signal).then(() => true);
    try {
      return await Promise.race([settled, change.then(() => false)]);
    } finally {
      link.abort(new AppError('ShuttingDown', 'the verification has begun anew'));
      await Promise.allSettled([settled]);
      link.dispose();
    }
  }

  async #watchExpiry(signal: AbortSignal): Promise<void> {
    while (this.#context.buildsNoIndexes) {
      this.#refuseExpiry();
      await beat(EXPIRY_WATCH_MS, signal);
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
}
