import type { Cluster } from '../cluster/cluster.js';
import { unblockWrites } from '../cluster/write-block.js';
import { blockSource } from '../cutover/block-source.js';
import type { Place } from './place.js';
import type { RunContext } from './run-context.js';

/** Blocks the users of `cluster`, the present source; the record says so before it is done. Resolves as `blockSource`. */
export async function blockOf(
  context: Pick<RunContext, 'record' | 'blockLimitMs' | 'onHeldUp' | 'logger'>,
  cluster: Cluster,
  signal: AbortSignal,
): Promise<boolean> {
  const { record, blockLimitMs, onHeldUp, logger } = context;
  const set = await blockSource(
    {
      source: cluster,
      limitMs: blockLimitMs,
      isOurs: record.value.blockedSource === true,
      onSetting: () => record.update({ blockedSource: true }, signal),
      onHeldUp,
    },
    signal,
  );
  onHeldUp(undefined);
  logger.info(set ? `Blocked writes to ${cluster.label}` : `Writes to ${cluster.label} are blocked already`);
  return set;
}

/** Lifts the source's block if it is ours. */
export async function unblockSource({ source, record }: Place, signal: AbortSignal): Promise<void> {
  if (record.value.blockedSource !== true) return;
  await unblockWrites(source, signal);
  await record.update({ blockedSource: undefined }, signal);
}
