/** Writes notes to the oplog: their times separate what came before from what comes after. */
import type { Timestamp } from '../bson/bson.js';
import { type Cluster, WRITE_LIMIT_MS } from './cluster.js';

/**
 * Writes a no-op to the oplog with majority write concern and returns its cluster time: everything acknowledged before
 * the call is at or before it, and change streams move past it even when nobody writes.
 * Source: MongoDB manual, appendOplogNote; needs the privilege of the same name.
 */
export async function writeOplogNote(cluster: Cluster, reason: string, signal: AbortSignal): Promise<Timestamp> {
  const reply = await cluster.attempt('writing a note to the oplog', signal, () =>
    cluster.command(
      'admin',
      { appendOplogNote: 1, data: { mongoferry: reason }, writeConcern: { w: 'majority' } },
      { control: true, limitMs: WRITE_LIMIT_MS, signal },
    ),
  );
  return reply['operationTime'] as Timestamp;
}
