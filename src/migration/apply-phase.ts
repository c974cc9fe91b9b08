import type { ApplyPipeline } from '../apply/pipeline.js';
import { type RepairContext, repairDocuments } from '../apply/repair.js';
import type { DocumentWriter } from '../cluster/document-writer.js';
import { Position } from '../cluster/position.js';
import { commitUpToHandover } from '../cutover/commit.js';
import { InvariantError } from '../errors.js';
import { abortion } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { MismatchRecord } from '../metadata/verification-store.js';
import { Checkpoints } from './checkpoints.js';
import { commitContextOf } from './commit-phase.js';
import { copyAgainOf, makePipeline, type RunParts, startTimeOf } from './run-parts.js';
import { keepNoting, watchCatalog } from './watchers.js';

/**
 * Change event application, with index builds and verification beside it, until the commit that is called during it has
 * stored the point of no return.
 */
export class ApplyPhase {
  readonly #parts: RunParts;
  readonly #writer: DocumentWriter;
  readonly #pipeline: ApplyPipeline;
  readonly #checkpoints: Checkpoints;

  constructor(parts: RunParts, writer: DocumentWriter) {
    this.#parts = parts;
    this.#writer = writer;
    this.#pipeline = makePipeline(parts, writer);
    parts.pipeline = this.#pipeline;
    this.#checkpoints = new Checkpoints(parts.context, this.#pipeline);
    parts.checkpoints = this.#checkpoints;
    const copyAgain = copyAgainOf(parts, writer);
    parts.copyHeld = ({ id }, signal) => this.#whileHeld(id, (collection) => copyAgain(collection, signal));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { context, indexes } = this.#parts;
    const { record } = context;
    const pipeline = this.#pipeline;
    const checkpoint = await record.store.loadCheckpoint(signal);
    const start = checkpoint?.position ?? Position.startAt(startTimeOf(context));
    await runWith(
      (inner) => this.#commit(inner),
      [
        (inner) => pipeline.run(start, checkpoint?.eventsApplied ?? 0, inner),
        (inner) => indexes.run(inner),
        (inner) => this.#openIndexes(inner),
        (inner) => this.#checkpoints.keep(inner),
        (inner) => keepNoting(context, inner),
        (inner) => this.#verify(inner),
        (inner) => watchCatalog(context, inner),
      ],
      signal,
    );
    await record.refresh(signal);
  }

  /**
   * Copies documents again, which are mismatches. `whole`: the collections that were copied as a whole by earlier calls,
   * and need it no more. Resolves with how many documents were copied.
   */
  async repair(records: readonly MismatchRecord[], whole: Set<string>, signal: AbortSignal): Promise<number> {
    const { context, filter } = this.#parts;
    const repairing: RepairContext = {
      source: context.source,
      filter,
      writer: this.#writer,
      copyAgain: copyAgainOf(this.#parts, this.#writer),
    };
    let repaired = 0;
    for (const [id, documents] of byCollection(records)) {
      if (whole.has(id)) {
        repaired += documents.length;
        continue;
      }
      const repairOne = async (collection: MigratedCollection): Promise<void> => {
        if (collection.capped) whole.add(id);
        repaired += await repairDocuments(repairing, collection, documents, signal);
      };
      await this.#whileHeld(id, repairOne);
    }
    return repaired;
  }

  /** Works on a collection while nothing is applied to it, under the name it has then; not at all if it was dropped. */
  async #whileHeld(id: string, work: (collection: MigratedCollection) => Promise<void>): Promise<void> {
    await this.#pipeline.withoutApplying([id], async () => {
      const collection = this.#parts.context.collections.get(id);
      if (collection !== undefined && !collection.dropped) await work(collection);
    });
  }

  async #commit(signal: AbortSignal): Promise<void> {
    const { context } = this.#parts;
    await Promise.race([context.commitCalled.promise, abortion(signal)]);
    const committing = commitContextOf(this.#parts, this.#writer);
    await commitUpToHandover(committing, context.record.value, this.#pipeline, signal);
  }

  /** Builds begin when everything written during the copy is applied: replayed states before may not be indexable. */
  async #openIndexes(signal: AbortSignal): Promise<void> {
    const { context, indexes } = this.#parts;
    const { copyEndTime } = context.record.value;
    if (copyEndTime === undefined) throw new InvariantError('the end of the copy is not stored');
    await this.#pipeline.reached(copyEndTime, signal);
    indexes.open();
    context.onChange();
  }

  /** Begins when what was written during the copy is applied: before, nearly every document would be in motion. */
  async #verify(signal: AbortSignal): Promise<void> {
    const { context, verifier } = this.#parts;
    const { copyEndTime } = context.record.value;
    if (verifier === undefined || copyEndTime === undefined) return;
    await this.#pipeline.reached(copyEndTime, signal);
    await verifier.run(signal);
  }
}

function byCollection(records: readonly MismatchRecord[]): Map<string, Buffer[]> {
  const result = new Map<string, Buffer[]>();
  for (const { collection, id } of records) result.set(collection, [...(result.get(collection) ?? []), id]);
  return result;
}
