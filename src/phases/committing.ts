/** Puts together what the commit of this run works with, up to its point of no return. */
import type { Timestamp } from '../bson/bson.js';
import { confirmed } from '../cluster/confirmed.js';
import { copyAgain } from '../copy/copier.js';
import { blockSource } from '../cutover/block-source.js';
import type { CommitContext } from '../cutover/commit.js';
import { sleep } from '../lib/signals.js';
import type { Verifier } from '../verify/verifier.js';
import type { Checkpoints } from './checkpoints.js';
import { copyContextOf } from './copying.js';
import type { RunContext } from './run-context.js';
import { proofsOf } from './verification.js';
import type { Writers } from './writers.js';

const POLL_MS = 100;

/** The parts of the apply phase that a commit uses. */
export interface CommitParts {
  readonly writers: Writers;
  /** Undefined when the migration is not verified. */
  readonly verifier: Verifier | undefined;
  readonly checkpoints: Checkpoints;
}

/** A commit's context: every step of it is repeatable. */
export function commitContextOf(context: RunContext, parts: CommitParts): CommitContext {
  const { source, destination, scope, record, collections, isBuilt, logger } = context;
  return {
    source,
    destination,
    scope,
    record,
    collections,
    isBuilt,
    logger: logger.component('commit'),
    blockSource: async (signal) => {
      if (context.blocksSource) await blockSource(context, source, signal);
    },
    indexesBuilt: (signal) => indexesBuilt(context, signal),
    ...proofsOf(context, parts.verifier),
    recopyCapped: (time, signal) => recopyCapped(context, parts.writers, time, signal),
    checkpoint: (signal) => parts.checkpoints.store(signal),
  };
}

async function indexesBuilt({ destination, indexes }: RunContext, signal: AbortSignal): Promise<void> {
  await allBuilt(indexes, signal);
  // Once more against what is really there: the last moment at which a difference can be mended. A build whose answer was
  // lost may be there on the primary alone.
  await confirmed(destination, signal, async () => {
    indexes.checkAll();
    await allBuilt(indexes, signal);
  });
}

/** Resolves once every wanted index is built. */
async function allBuilt(indexes: RunContext['indexes'], signal: AbortSignal): Promise<void> {
  while (!indexes.isComplete) await sleep(POLL_MS, signal);
}

/**
 * Before 5.0 a capped collection evicts without events, and under a filter its order is not that of the events: such
 * ones are copied again.
 */
async function recopyCapped(
  context: RunContext,
  writers: Writers,
  time: Timestamp,
  signal: AbortSignal,
): Promise<void> {
  const { source, collections, filter, logger } = context;
  if (source.isAtLeast(5) && filter === undefined) return;
  const copying = copyContextOf(context, writers);
  for (const each of collections.live().filter(({ capped }) => capped)) {
    logger.info(`Copying the capped collection ${each.name} again, as of the commit`);
    await copyAgain(copying, each, time, signal);
  }
}
