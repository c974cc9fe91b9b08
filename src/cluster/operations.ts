/** Ends the operations that a server still carries out for an earlier process. */
import type { Doc } from '../bson/bson.js';
import { sleep } from '../lib/signals.js';
import { structuralTag } from './clients.js';
import type { Cluster } from './cluster.js';
import { Code, codeOf } from './errors.js';

const POLL_MS = 100;
const TELL_AFTER_MS = 2000;

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

/** Whose operations are ended. */
export interface Ended {
  readonly clientTags: readonly string[];
  /**
   * Connections that must have ended, too: then all that was sent on them has been read. Structural commands have some of
   * their own.
   */
  readonly awaits: 'none' | 'structural' | 'all';
  /** Called with what is waited for when that takes some seconds. */
  readonly onWaiting?: (text: string) => void;
}

/**
 * Ends the writes that a server is still carrying out for connections of these tags, and resolves once there are none.
 * A user sees and ends their own operations without any privilege. Source: MongoDB manual, $currentOp, killOp.
 */
export async function endWrites(cluster: Cluster, ended: Ended, signal: AbortSignal): Promise<void> {
  const { clientTags, onWaiting } = ended;
  const started = performance.now();
  let told = false;
  for (;;) {
    const operations = await operationsOf(cluster, clientTags, signal);
    const writes = operations.filter((each) => each['active'] === true && isWrite(each));
    const unread = operations.filter((each) => each['active'] !== true && isAwaited(each, ended));
    if (writes.length + unread.length === 0) return;
    for (const { opid } of writes) await endOperation(cluster, opid, signal);
    if (!told && performance.now() - started > TELL_AFTER_MS) {
      told = true;
      onWaiting?.(
        `${cluster.label} may still receive commands of an earlier process of this migration: waiting for ${writes.length + unread.length} of its connections to end. Stop that process`,
      );
    }
    await sleep(POLL_MS, signal);
  }
}

function isAwaited({ platform }: Doc, { clientTags, awaits }: Ended): boolean {
  if (awaits === 'all') return true;
  return awaits === 'structural' && clientTags.some((tag) => String(platform).includes(structuralTag(tag)));
}

function isWrite({ op, command }: Doc): boolean {
  return WRITE_OPERATIONS.has(String(op)) || WRITES.has(Object.keys((command as Doc | undefined) ?? {})[0] ?? '');
}

/** Those of all users where they may be seen: a restart may use another one. */
async function operationsOf(cluster: Cluster, clientTags: readonly string[], signal: AbortSignal): Promise<Doc[]> {
  const list = async (allUsers: boolean): Promise<Doc[]> =>
    // A mongos tells of its shards' operations, and of its own where it is asked for those alone.
    cluster.isSharded
      ? [...(await listIn(allUsers, {})), ...(await listIn(allUsers, { localOps: true }))]
      : listIn(allUsers, {});
  const listIn = async (allUsers: boolean, where: Doc): Promise<Doc[]> => {
    const pipeline = [
      { $currentOp: { allUsers, idleConnections: true, ...where } },
      { $match: { 'clientMetadata.platform': { $regex: clientTags.join('|') } } },
      { $project: { active: 1, opid: 1, op: 1, command: 1, platform: '$clientMetadata.platform' } },
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

async function endOperation(cluster: Cluster, opid: unknown, signal: AbortSignal): Promise<void> {
  try {
    await cluster.command('admin', { killOp: 1, op: opid }, { control: true, signal });
  } catch (error) {
    // Another user's: it is waited for.
    if (codeOf(error) === undefined) throw error;
  }
}
