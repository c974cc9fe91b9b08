import type { Cluster } from './cluster.js';

const BLOCKING = 2;

/** Whether users' writes are blocked on a cluster. Needs serverStatus; before 6.0 there is no such mode. */
export async function isBlocked(cluster: Cluster, signal: AbortSignal): Promise<boolean> {
  const reply = await cluster.read(
    'reading the write block',
    'admin',
    { serverStatus: 1, metrics: 0, wiredTiger: 0, tcmalloc: 0 },
    signal,
  );
  const { userWriteBlockMode } = reply['repl'] as { userWriteBlockMode?: number };
  return userWriteBlockMode === BLOCKING;
}

/**
 * Blocks or unblocks users' writes. Never sent when it is so already: the server aborts running index builds even when
 * the mode does not change. Source: MongoDB manual, setUserWriteBlockMode; docs/07-cutover.md.
 */
export async function setBlock(cluster: Cluster, block: boolean, signal: AbortSignal): Promise<void> {
  if ((await isBlocked(cluster, signal)) === block) return;
  await cluster.attempt(block ? 'blocking writes' : 'unblocking writes', signal, () => {
    cluster.assertMayWrite();
    return cluster.command('admin', { setUserWriteBlockMode: 1, global: block }, { control: true });
  });
}
