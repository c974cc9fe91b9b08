/** Names the sessions in which one holder of the right to write sends its writes, so that late ones are refused. */
import type { Binary } from '../bson/bson.js';
import { MAJORITY_WRITE, RECORD_POOL } from './clients.js';
import { type Cluster, WRITE_LIMIT_MS } from './cluster.js';
import type { DriverClient } from './driver.js';
import { closeSessions, NumberedSessions, type StoreNumber, type WriteSessions } from './numbered-sessions.js';
import { OtherWriters } from './other-writers.js';

/** The collection of a metadata database in which the numbers of lost writes are stored. */
const NUMBERS = 'numbers';

/**
 * The sessions of this process for a metadata database `db` on this cluster, in which their numbers are stored: one set,
 * whoever has the right to write, so that what an earlier right has lost is resolved before the next one writes. Undefined
 * before 6.0, whose write blocks and collection UUIDs the numbers would need.
 */
export function writeSessions(cluster: Cluster, db: string): WriteSessions | undefined {
  const { core } = cluster;
  const known = core.sessions.get(db);
  if (known !== undefined) return known;
  if (!core.knowsBlocks) return undefined;
  const { data: dataClient, record: recordClient } = core.clients;
  const data = new NumberedSessions(dataClient, dataClient.maxPoolSize, storeNumber(core, dataClient, db));
  const record = new NumberedSessions(recordClient, RECORD_POOL, storeNumber(core, recordClient, db));
  const others = new OtherWriters((ids) => closeWriteSessions(cluster, ids, db));
  const sessions = { data, record, ids: [...data.ids, ...record.ids], others };
  core.sessions.set(db, sessions);
  return sessions;
}

/** Lets the server refuse whatever an earlier holder has sent in these sessions, whose numbers are stored in `db`. */
export async function closeWriteSessions({ core }: Cluster, ids: readonly Binary[], db: string): Promise<void> {
  const { record } = core.clients;
  await closeSessions(record, ids, storeNumber(core, record, db));
}

/** One real retryable write: the server stores the number with it, and a majority has both. */
function storeNumber({ unblocked, commands }: Cluster['core'], client: DriverClient, db: string): StoreNumber {
  return async (session, id, txnNumber) => {
    const update = { q: { _id: id }, u: { $set: { number: txnNumber } }, upsert: true };
    const command = { update: NUMBERS, updates: [update], writeConcern: MAJORITY_WRITE, txnNumber };
    await unblocked.send(command, (ready) => commands.run(client, db, ready, { session, limitMs: WRITE_LIMIT_MS }));
  };
}
