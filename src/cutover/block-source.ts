/** Blocks users' writes on the source for a commit. */

import { codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { isBlocked, openTransactions, tryBlock, unblockWrites } from '../cluster/write-block.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { sleep } from '../lib/signals.js';
import type { StoredRecord } from '../metadata/stored-record.js';

/** What the blocking of the source works with. */
export interface BlockContext {
  readonly record: StoredRecord;
  /** How long to try, in milliseconds. */
  readonly blockLimitMs: number;
  readonly logger: Logger;
  /** Told after each try that open transactions have held up, with a line for people; undefined once it is over. */
  readonly listener: { heldUp(text: string | undefined): void };
}

const PAUSE_MS = 1000;

/**
 * Blocks the users of `source`, the present one; the record says so before it is done. A block that somebody else has set
 * will do as well, and stays theirs. Between two tries the users' writes go on for a second, since each try holds them up.
 * Resolves with whether the block was set now. Errors: SourceNotBlocked, with the transactions in the way; nothing is
 * blocked then. Source: docs/07-cutover.md.
 */
export async function blockSource(
  context: BlockContext,
  source: WritableCluster,
  signal: AbortSignal,
): Promise<boolean> {
  const { record, listener, logger } = context;
  if (await isBlocked(source, signal)) {
    listener.heldUp(undefined);
    logger.info(`Writes to ${source.label} are blocked already`);
    return false;
  }
  if (record.value.blockedSource !== true) await record.update({ blockedSource: true }, signal);
  await keepTrying(context, source, signal);
  listener.heldUp(undefined);
  logger.info(`Blocked writes to ${source.label}`);
  return true;
}

/** Lifts the source's block if it is ours. */
export async function unblockSource(
  { source, record }: { readonly source: WritableCluster; readonly record: StoredRecord },
  signal: AbortSignal,
): Promise<void> {
  if (record.value.blockedSource !== true) return;
  await unblockWrites(source, signal);
  await record.update({ blockedSource: undefined }, signal);
}

async function keepTrying(context: BlockContext, source: WritableCluster, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    if (await tryOnce(source, signal)) return;
    const open = await openTransactions(source, signal);
    const named =
      open === undefined
        ? 'they cannot be named without the privilege inprog'
        : open.length === 0
          ? 'none is open any more'
          : open.join('; ');
    const text = `writes to the source could not be blocked while transactions are open there: ${named}`;
    if (performance.now() - startedMs > context.blockLimitMs)
      throw new AppError('SourceNotBlocked', `${text}. End them, and call again`);
    context.listener.heldUp(text);
    await sleep(PAUSE_MS, signal);
  }
}

async function tryOnce(source: WritableCluster, signal: AbortSignal): Promise<boolean> {
  try {
    return await tryBlock(source, signal);
  } catch (error) {
    if (isTransient(error) || codeOf(error) === undefined) throw error;
    throw new AppError('SourceNotBlocked', `${source.label} refused to block writes: ${safeText(error)}`, {
      cause: error,
    });
  }
}
