/** Blocks users' writes on the source for a commit. */
import type { Cluster } from '../cluster/cluster.js';
import { codeOf, isTransient, safeText } from '../cluster/errors.js';
import { isBlocked, openTransactions, tryBlock } from '../cluster/write-block.js';
import { AppError } from '../errors.js';
import { sleep } from '../lib/signals.js';

/** What the blocking of the source works with. */
export interface BlockContext {
  readonly source: Cluster;
  /** How long to try, in milliseconds. */
  readonly limitMs: number;
  /** Whether the record says that the block is ours, from an earlier try. */
  readonly isOurs: boolean;
  /** Called before the block is set: stores that it is ours. */
  readonly onSetting: () => Promise<void>;
  /** Called after each try that open transactions have held up, with a line for people. */
  readonly onHeldUp: (text: string) => void;
}

const PAUSE_MS = 1000;

/**
 * Blocks the source's users. A block that somebody else has set will do as well, and stays theirs. Between two tries the
 * users' writes go on for a second, since each try holds them up. Resolves with whether the block was set now.
 * Errors: SourceNotBlocked, with the transactions in the way; nothing is blocked then. Source: docs/07-cutover.md.
 */
export async function blockSource(context: BlockContext, signal: AbortSignal): Promise<boolean> {
  const { source } = context;
  if (await isBlocked(source, signal)) return false;
  if (!context.isOurs) await context.onSetting();
  const startedMs = performance.now();
  for (;;) {
    if (await tryOnce(source, signal)) return true;
    const open = await openTransactions(source, signal);
    const named =
      open === undefined
        ? 'they cannot be named without the privilege inprog'
        : open.length === 0
          ? 'none is open any more'
          : open.join('; ');
    const text = `writes to the source could not be blocked while transactions are open there: ${named}`;
    if (performance.now() - startedMs > context.limitMs)
      throw new AppError('SourceNotBlocked', `${text}. End them, and call again`);
    context.onHeldUp(text);
    await sleep(PAUSE_MS, signal);
  }
}

async function tryOnce(source: Cluster, signal: AbortSignal): Promise<boolean> {
  try {
    return await tryBlock(source, signal);
  } catch (error) {
    if (isTransient(error) || codeOf(error) === undefined) throw error;
    throw new AppError('SourceNotBlocked', `${source.label} does not block writes: ${safeText(error)}`, {
      cause: error,
    });
  }
}
