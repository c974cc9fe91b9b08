/** Runs the second phase: copies every document as it is at some time after the start time. */
import { writeOplogNote } from '../cluster/oplog-note.js';
import { copyCollections } from '../copy/copier.js';
import { buildsBeforeCopy } from '../indexes/build-mode.js';
import { rejectOnAbort, sleep } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import { ApplyPhase } from './apply-phase.js';
import { watchBalancers, watchShardKeys, watchShards } from './balancing.js';
import { sharedCopyContextOf } from './copying.js';
import { NOTHING_YET, type Phase, type PhaseProgress } from './phase.js';
import { type RunContext, startTimeOf } from './run-context.js';
import { watchCatalog, watchOplog } from './watchers.js';
import type { Writers } from './writers.js';

const POLL_MS = 100;

/** Copies every collection, with the indexes first where that was asked for, and stores when the copy ended. */
export class CopyPhase implements Phase {
  readonly name = 'collection copy';
  readonly #context: RunContext;
  readonly #writers: Writers;

  constructor(context: RunContext, writers: Writers) {
    this.#context = context;
    this.#writers = writers;
  }

  progress(): PhaseProgress {
    return NOTHING_YET;
  }

  async run(signal: AbortSignal): Promise<Phase> {
    const context = this.#context;
    const { source, record, indexes, listener } = context;
    const copying = sharedCopyContextOf(context, this.#writers);
    await runWith(
      async (inner) => {
        if (buildsBeforeCopy(context.buildIndexes)) await this.#buildFirst(inner);
        await copyCollections(copying, startTimeOf(context), inner);
      },
      [
        (inner) => watchOplog(context, inner),
        (inner) => watchCatalog(context, inner),
        (inner) => watchBalancers(context, inner),
        (inner) => watchShards(context, inner),
        (inner) => watchShardKeys(context, undefined, inner),
        // Nothing is applied yet: what must wait for that waits for the next phase.
        (inner) => indexes.run(rejectOnAbort, inner),
      ],
      signal,
    );
    const copyEndTime = await writeOplogNote(source, 'copy end', signal);
    await record.update({ phase: 'apply', copyEndTime }, signal);
    listener.changed();
    return new ApplyPhase(context, this.#writers);
  }

  /** On empty collections, or on what an earlier run has copied. */
  async #buildFirst(signal: AbortSignal): Promise<void> {
    const { indexes } = this.#context;
    indexes.open();
    while (!indexes.isCompleteForNow) await sleep(POLL_MS, signal);
  }
}
