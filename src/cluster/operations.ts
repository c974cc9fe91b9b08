import { sleep } from '../lib/signals.js';
import type { Doc } from './bson.js';
import type { Cluster } from './cluster.js';
import { Code, codeOf } from './errors.js';

const POLL_MS = 100;

/**
 * Commands that change something and take effect by themselves. Not createIndexes: the server goes on with it for hours
 * whoever asked for it, and the index builder compares what there is with what is wanted.
 */
const WRITES = new Set([
  'insert',
  'update',
  'delete',
  'create',
  'drop',
  'renameCollection',
  'collMod',
  'dropIndexes',
  'convertToCapped',
  'setUserWriteBlockMode',
]);
const WRITE_OPERATIONS = new Set(['insert', 'update', 'remove']);

/**
 * Ends the writes that a server is still carrying out, or has not yet read, for connections of these tags, and resolves
 * once there are none. `isGone`: the processes have ended, so their connections end, too, once all they sent is read.
 * A user sees and ends their own operations without any privilege. Source: MongoDB manual, $currentOp, killOp.
 */
export async function endWrites(
  cluster: Cluster,
  clientTags: readonly string[],
  isGone: boolean,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const operations = await operationsOf(cluster, clientTags, signal);
    const writes = operations.filter((each) => each['active'] === true && isWrite(each));
    const unread = isGone ? operations.filter((each) => each['active'] !== true) : [];
    if (writes.length + unread.length === 0) return;
    for (const { opid } of writes) await endOperation(cluster, opid);
    await sleep(POLL_MS, signal);
  }
}

function isWrite({ op, command }: Doc): boolean {
  return WRITE_OPERATIONS.has(String(op)) || WRITES.has(Object.keys((command as Doc | undefined) ?? {})[0] ?? '');
}

/** Those of all users where they may be seen: a restart may use another one. */
async function operationsOf(cluster: Cluster, clientTags: readonly string[], signal: AbortSignal): Promise<Doc[]> {
  const list = async (allUsers: boolean): Promise<Doc[]> => {
    const pipeline = [
      { $currentOp: { allUsers, idleConnections: true } },
      { $match: { 'clientMetadata.platform': { $regex: clientTags.join('|') } } },
      { $project: { active: 1, opid: 1, op: 1, command: 1 } },
    ];
    const command = { aggregate: 1, pipeline, cursor: { batchSize: 10_000 } };
    const reply = await cluster.read('looking for an earlier process', 'admin', command, signal);
    return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch;
  };
  try {
    return await list(true);
  } catch (error) {
    if (codeOf(error) !== Code.Unauthorized) throw error;
    return list(false);
  }
}

async function endOperation(cluster: Cluster, opid: unknown): Promise<void> {
  try {
    await cluster.command('admin', { killOp: 1, op: opid }, { control: true });
  } catch (error) {
    // Another user's: it is waited for.
    if (codeOf(error) === undefined) throw error;
  }
}
