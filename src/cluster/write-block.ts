/** Sets, lifts and reads the block of user writes of a cluster. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from './cluster.js';
import { confirmed } from './confirmed.js';
import { Code, codeOf } from './errors.js';
import type { WritableCluster } from './writable-cluster.js';

const BLOCKING = 2;
const MAX_TIME_MS = 2000;

/** Whether users' writes are blocked on a cluster, on all shards of it. Needs serverStatus; before 6.0 there is no such mode. */
export async function isBlocked(cluster: Cluster, signal: AbortSignal): Promise<boolean> {
  if (cluster.isSharded) return isClusterBlocked(cluster, signal);
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
 * A mongos has no `repl` section in its serverStatus. While writes are blocked, the config servers hold a document for it
 * (tried on 6.0.5); one that only begins or ends blocks the changes of the catalog first, and counts as none.
 */
async function isClusterBlocked(cluster: Cluster, signal: AbortSignal): Promise<boolean> {
  const filter = { blockUserWrites: true };
  const command = { find: 'user_writes_critical_sections', filter, limit: 1, singleBatch: true };
  const reply = await cluster.read('reading the write block', 'config', command, signal);
  return (reply['cursor'] as { firstBatch: unknown[] }).firstBatch.length > 0;
}

/**
 * Blocks users' writes. Not sent when they are blocked already: the server aborts running index builds even when the mode
 * does not change. `onSending` is called before the command is sent: without that call the mode was somebody else's
 * doing. Source: MongoDB manual, setUserWriteBlockMode; docs/07-cutover.md.
 */
export async function blockWrites(
  cluster: WritableCluster,
  signal: AbortSignal,
  onSending: () => void = () => undefined,
): Promise<void> {
  await setMode(cluster, { global: true, what: 'blocking writes', onSending }, signal);
}

/** Lets users write again, if they are blocked. */
export async function unblockWrites(cluster: WritableCluster, signal: AbortSignal): Promise<void> {
  await setMode(cluster, { global: false, what: 'unblocking writes', onSending: () => undefined }, signal);
}

interface WantedMode {
  /** Whether writes are to be blocked; the server's own name. */
  readonly global: boolean;
  readonly what: string;
  readonly onSending: () => void;
}

async function setMode(
  cluster: WritableCluster,
  { global, what, onSending }: WantedMode,
  signal: AbortSignal,
): Promise<void> {
  const change = (): Promise<void> =>
    cluster.attempt(what, signal, async () => {
      // Each time anew: of a try whose answer was lost it is not known whether it took effect.
      if ((await isBlocked(cluster, signal)) === global) return;
      cluster.assertMayWrite();
      onSending();
      await cluster.structure('admin', { setUserWriteBlockMode: 1, global }, { signal });
    });
  // That it is so already says nothing of a majority.
  await confirmed(cluster, signal, change);
}

/**
 * As `blockWrites`, for a cluster in use: the server waits for open transactions, and holds up every write
 * meanwhile, so it is given two seconds. False when transactions were in the way; nothing is blocked then.
 */
export async function tryBlock(cluster: WritableCluster, signal: AbortSignal): Promise<boolean> {
  const command = { setUserWriteBlockMode: 1, global: true, maxTimeMS: MAX_TIME_MS };
  const block = (): Promise<boolean> =>
    cluster.attempt('blocking writes', signal, async () => {
      if (await isBlocked(cluster, signal)) return true;
      try {
        await cluster.structure('admin', command, { signal });
        return true;
      } catch (error) {
        const code = codeOf(error);
        if (code === Code.MaxTimeMSExpired || code === Code.LockTimeout) return false;
        throw error;
      }
    });
  return (await confirmed(cluster, signal, block)).value;
}

/** The open transactions of a cluster, one line for people each; undefined when they may not be read (`inprog`). */
export async function openTransactions(cluster: Cluster, signal: AbortSignal): Promise<string[] | undefined> {
  const command = {
    aggregate: 1,
    pipeline: [
      { $currentOp: { allUsers: true, idleSessions: true } },
      // Not retryable writes, which are shown with a number, too.
      { $match: { 'transaction.parameters.autocommit': false } },
      { $limit: MAX_NAMED_TRANSACTIONS },
    ],
    cursor: {},
  };
  try {
    const reply = await cluster.read('looking for open transactions', 'admin', command, signal);
    return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch.map(transactionText);
  } catch (error) {
    if (codeOf(error) === Code.Unauthorized) return undefined;
    throw error;
  }
}

const MAX_NAMED_TRANSACTIONS = 10;

/** Who and for how long; what it does may hold values of documents. */
function transactionText(operation: Doc): string {
  const { lsid, appName, client, transaction } = operation as {
    lsid?: { id?: unknown };
    appName?: string;
    client?: string;
    transaction: { timeOpenMicros?: unknown };
  };
  const seconds = Math.round(Number(transaction.timeOpenMicros ?? 0) / 1e6);
  const from = [client ?? 'an unknown client', ...(appName ? [`"${appName}"`] : [])].join(' ');
  return `session ${String(lsid?.id ?? 'unknown')} of ${from}, open for ${seconds} s`;
}
