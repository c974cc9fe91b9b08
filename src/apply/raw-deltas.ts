/** Finds out whether both servers know update deltas in their raw form. */
import { Timestamp } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';

/** Clusters whose deltas are tried out. */
export interface DeltaProbe {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  /** The metadata database, on the destination. */
  readonly db: string;
}

/** Whether both sides know the server's own update deltas. Undocumented, so it is tried rather than read off a version. */
export async function probeRawDeltas({ source, destination, db }: DeltaProbe, signal: AbortSignal): Promise<boolean> {
  const stage = { $_internalApplyOplogUpdate: { oplogUpdate: { $v: 2, diff: { u: { probe: true } } } } };
  try {
    const open = {
      aggregate: 1,
      pipeline: [
        {
          $changeStream: {
            allChangesForCluster: true,
            showRawUpdateDescription: true,
            startAtOperationTime: source.now ?? new Timestamp({ t: 1, i: 1 }),
          },
        },
      ],
      cursor: { batchSize: 0 },
    };
    const reply = await source.command('admin', open, { signal });
    const cursor = reply['cursor'] as { id: unknown };
    await source.command('admin', { killCursors: '$cmd.aggregate', cursors: [cursor.id] }, { signal });
    const probe = { update: 'probe', updates: [{ q: { _id: 'probe' }, u: [stage] }] };
    const update = await destination.write(db, probe, { signal });
    return update['writeErrors'] === undefined;
  } catch (error) {
    if (isDeltaRefusal(error)) return false;
    throw error;
  }
}

/** Whether a server has refused a command because it does not know the deltas' fields or stages. */
export function isDeltaRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.UnknownField || code === Code.UnknownPipelineStage;
}
