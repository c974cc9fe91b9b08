/** The commit as a phase of a run, also where a restart goes on with it. */
import type { Timestamp } from '../cluster/bson.js';
import type { DocumentWriter } from '../cluster/document-writer.js';
import { settled } from '../cluster/settled.js';
import { copyAgain } from '../copy/copier.js';
import { type CommitContext, commitFromHandover } from '../cutover/commit.js';
import { abortion } from '../lib/signals.js';
import { indexesSettled } from './copy-phase.js';
import { copyContextOf, type RunParts, wantsIndex } from './run-parts.js';
import { blockOf } from './source-block.js';
import { proofsOf } from './verification.js';

/** What a commit works with. Without a writer: only from the point of no return on. */
export function commitContextOf(parts: RunParts, writer?: DocumentWriter): CommitContext {
  const { context, indexes } = parts;
  const { source, destination, scope, record, collections, logger, onChange } = context;
  return {
    source,
    destination,
    scope,
    store: record.store,
    collections,
    isBuilt: wantsIndex(context),
    logger: logger.component('commit'),
    blockSource: async (signal) => {
      if (context.blocksSource) await blockOf(context, source, signal);
    },
    indexesBuilt: async (signal) => {
      await indexesSettled(indexes, signal);
      // Once more against what is really there: the last moment at which a difference can be mended. A build whose
      // answer was lost may be there on the primary alone.
      await settled(destination, signal, async () => {
        indexes.checkAll();
        await indexesSettled(indexes, signal);
      });
    },
    ...proofsOf(parts, wantsIndex(context), parts.copyHeld),
    settleCapped: async (time, signal) => {
      if (writer !== undefined) await settleCapped(parts, writer, time, signal);
    },
    checkpoint: async (signal) => parts.checkpoints?.store(signal),
    onHandover: async (signal) => {
      await record.refresh(signal);
      onChange();
    },
  };
}

/**
 * Before 5.0 a capped collection evicts without events, and under a filter its order is not that of the events: such
 * ones are copied again.
 */
async function settleCapped(
  parts: RunParts,
  writer: DocumentWriter,
  time: Timestamp,
  signal: AbortSignal,
): Promise<void> {
  const { source, collections, logger } = parts.context;
  if (source.isAtLeast(5) && parts.filter === undefined) return;
  const copying = copyContextOf(parts, writer);
  for (const each of collections.live().filter(({ capped }) => capped)) {
    logger.info(`Copying the capped collection ${each.name} again, as of the commit`);
    await copyAgain(copying, each, time, signal);
  }
}

/** The commit from the point of no return on. What the server refuses then does not fail it, but keeps it from ending. */
export async function finishCommit(parts: RunParts, signal: AbortSignal): Promise<void> {
  const { record, onWarning, logger } = parts.context;
  const warnings = await commitFromHandover(commitContextOf(parts), record.value, signal);
  for (const warning of warnings) onWarning(warning);
  if (warnings.length > 0) {
    // The operator may mend the data and restart; until then the migration stays in COMMITTING.
    logger.error('The commit is not complete', { warnings });
    await abortion(signal);
  }
}
