import type { DocumentWriter } from '../cluster/document-writer.js';
import { writeNote } from '../cluster/notes.js';
import { copyCollections } from '../copy/copier.js';
import { buildsBeforeCopy } from '../indexes/build-mode.js';
import type { IndexBuilder } from '../indexes/builder.js';
import { sleep } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import { copyContextOf, type RunParts, startTimeOf } from './run-parts.js';
import { watchCatalog, watchOplog } from './watchers.js';

const POLL_MS = 100;

/** Copies every collection, with the indexes first where that was asked for, and stores when the copy ended. */
export async function copyPhase(parts: RunParts, writer: DocumentWriter, signal: AbortSignal): Promise<void> {
  const { context, indexes } = parts;
  const { source, record, buildIndexes } = context;
  const copying = copyContextOf(parts, writer);
  await runWith(
    async (inner) => {
      if (buildsBeforeCopy(buildIndexes)) await buildFirst(indexes, inner);
      await copyCollections(copying, startTimeOf(context), inner);
    },
    [(inner) => watchOplog(context, inner), (inner) => watchCatalog(context, inner), (inner) => indexes.run(inner)],
    signal,
  );
  const copyEndTime = await writeNote(source, 'copy end', signal);
  await record.update({ phase: 'apply', copyEndTime }, signal);
  context.onChange();
}

/** On empty collections, or on what an earlier run has copied. */
async function buildFirst(indexes: IndexBuilder, signal: AbortSignal): Promise<void> {
  indexes.open();
  while (!indexes.settledForNow) await sleep(POLL_MS, signal);
}

/** Resolves once every wanted index is built. */
export async function indexesSettled(indexes: IndexBuilder, signal: AbortSignal): Promise<void> {
  while (!indexes.settled) await sleep(POLL_MS, signal);
}
