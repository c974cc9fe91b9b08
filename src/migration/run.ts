import type { ApplyStatus } from '../apply/pipeline.js';
import { DocumentWriter } from '../cluster/document-writer.js';
import { clusterError } from '../cluster/errors.js';
import { RawWriter } from '../cluster/raw-writes.js';
import type { CopyProgress } from '../copy/copy-progress.js';
import { isPastHandover } from '../cutover/commit.js';
import { AppError } from '../errors.js';
import type { IndexBuilder } from '../indexes/builder.js';
import { traced } from '../lib/trace.js';
import type { Verifier } from '../verify/verifier.js';
import { ApplyPhase } from './apply-phase.js';
import { finishCommit } from './commit-phase.js';
import { copyPhase } from './copy-phase.js';
import { initialisePhase } from './initialise-phase.js';
import type { RunContext } from './run-context.js';
import { makeParts, type RunParts } from './run-parts.js';

/**
 * The work of a migration, from wherever its record says it is, to the end of the commit or until `signal` aborts.
 * Phases: initialise → copy → apply (with index builds and, once called, the commit) → done. Each stores its end before
 * the next begins. Source: docs/02-lifecycle.md.
 */
export class MigrationRun {
  readonly #context: RunContext;
  readonly #parts: RunParts;
  #applying: ApplyPhase | undefined;
  #eventsApplied: number;

  constructor(context: RunContext) {
    this.#context = context;
    this.#parts = makeParts(context);
    this.#eventsApplied = context.record.value.eventsApplied;
  }

  get copy(): CopyProgress {
    return this.#parts.copy;
  }

  get indexes(): IndexBuilder {
    return this.#parts.indexes;
  }

  /** Undefined when the migration is not verified. */
  get verifier(): Verifier | undefined {
    return this.#parts.verifier;
  }

  get apply(): ApplyStatus | undefined {
    return this.#parts.pipeline?.status;
  }

  get eventsApplied(): number {
    return this.apply?.safe?.eventsApplied ?? this.#eventsApplied;
  }

  /** Whether what was written during the copy has been applied: only then are the applied states whole. */
  get drained(): boolean {
    const end = this.#context.record.value.copyEndTime;
    const safe = this.apply?.safeSeconds;
    return end !== undefined && safe !== undefined && safe >= end.getHighBitsUnsigned() && this.indexes.isOpen;
  }

  /** Rejects with the AppError that ended it; resolves when the commit is complete. */
  async run(signal: AbortSignal): Promise<void> {
    const { source, destination } = this.#context;
    try {
      await this.#phases(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw clusterError(
        error,
        `${source.name}/${destination.name}`,
        `migrating in phase ${this.#context.record.value.phase}`,
      );
    }
  }

  /** Copies mismatches again, those of `ids` or all, and compares them. Resolves with how many were copied. */
  async repair(ids: readonly string[], signal: AbortSignal): Promise<number> {
    const { verifier } = this;
    const applying = this.#applying;
    if (verifier === undefined || applying === undefined)
      throw new AppError('InvalidStateTransition', 'repair is not permitted: nothing is being verified now');
    const wanted = new Set(ids);
    const whole = new Set<string>();
    let repaired = 0;
    for await (const page of verifier.mismatches.pages(signal)) {
      const chosen = page.filter(({ key }) => wanted.size === 0 || wanted.has(key));
      repaired += await applying.repair(chosen, whole, signal);
    }
    await verifier.recheckMismatches(signal);
    return repaired;
  }

  async #phases(signal: AbortSignal): Promise<void> {
    const { record, collections } = this.#context;
    const parts = this.#parts;
    // A run that was stopped may have stored more than it lived to tell.
    await record.refresh(signal);
    await collections.load(signal);
    parts.copy.load(collections, await record.store.loadPartitions(signal));
    const applied = (await record.store.loadCheckpoint(signal))?.eventsApplied ?? 0;
    this.#eventsApplied = Math.max(this.#eventsApplied, applied);
    if (!isPastHandover(record.value)) {
      await this.#phasesUpToHandover(signal);
    }
    await traced('finalise', {}, () => finishCommit(parts, signal));
  }

  async #phasesUpToHandover(signal: AbortSignal): Promise<void> {
    const { record, logger } = this.#context;
    const parts = this.#parts;
    try {
      const writer = await this.#makeWriter(signal);
      if (record.value.phase === 'initialise') {
        logger.info('Starting initializing collections and indexes phase');
        await traced('initialise', {}, () => initialisePhase(parts, signal));
      }
      if (record.value.phase === 'copy') await traced('collection copy', {}, () => copyPhase(parts, writer, signal));
      parts.copy.finish();
      logger.info('Starting change event application phase');
      await traced('change event application', {}, () => this.#apply(writer, signal));
    } finally {
      // Before anything else is done with the destination: nothing of theirs may come later.
      await parts.threads?.close();
    }
  }

  async #makeWriter(signal: AbortSignal): Promise<DocumentWriter> {
    const { destination, record, onWarning } = this.#context;
    const raw = await destination.attempt('probing the raw pass-through', signal, () =>
      RawWriter.create(destination, record.store.db),
    );
    if (!raw.passesThrough)
      onWarning('the driver has no raw pass-through here; documents are decoded and encoded, which is slower');
    return new DocumentWriter(destination, raw, (target, inner) => this.indexes.remove(target.uuid, inner));
  }

  async #apply(writer: DocumentWriter, signal: AbortSignal): Promise<void> {
    const applying = new ApplyPhase(this.#parts, writer);
    this.#applying = applying;
    try {
      await applying.run(signal);
    } finally {
      this.#applying = undefined;
      this.#eventsApplied = this.eventsApplied;
    }
  }
}
