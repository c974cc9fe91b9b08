/** Names the sessions in which one holder of the right to write sends its writes, so that late ones are refused. */
import type { Binary, Doc, Long } from '../bson/bson.js';
import { MAJORITY_WRITE, RECORD_POOL } from './clients.js';
import { type Cluster, type ClusterCore, WRITE_LIMIT_MS } from './cluster.js';
import type { DriverClient, DriverSession } from './driver.js';
import { requireCarriedOut } from './errors.js';
import { NUMBERS, readNumberSlots } from './number-slots.js';
import { closeSessions, NumberedSessions, type StoreNumber, type WriteSessions } from './numbered-sessions.js';
import { OtherWriters } from './other-writers.js';

/** Of a read of the config servers, in milliseconds. */
const CONFIG_LIMIT_MS = 20_000;

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
  const make = (client: DriverClient, size: number): NumberedSessions => {
    const store: StoreNumber = async (...number) => storeIn(await placesOf(core, db), { core, client, db })(...number);
    return new NumberedSessions(client, { size, store, isRouted: cluster.isSharded });
  };
  const data = make(dataClient, dataClient.maxPoolSize);
  const record = make(recordClient, RECORD_POOL);
  const others = new OtherWriters((ids) => closeWriteSessions(cluster, ids, db));
  const sessions = { data, record, ids: [...data.ids, ...record.ids], others };
  core.sessions.set(db, sessions);
  return sessions;
}

/**
 * Lets the server, or each shard, refuse whatever an earlier holder has sent in these sessions, whose numbers are stored
 * in `db`. Errors: the driver's.
 */
export async function closeWriteSessions({ core }: Cluster, ids: readonly Binary[], db: string): Promise<void> {
  if (ids.length === 0) return;
  const { record } = core.clients;
  const places = await placesOf(core, db);
  await closeSessions(record, ids, storeIn(places, { core, client: record, db }));
}

/** Where a session's number is stored: the document's key. */
type Place = (id: Binary) => Doc;

/** Wherever the collection is not spread over shards. */
const ONLY_PLACE: Place = (id) => ({ _id: id });

/**
 * A place on each shard of a sharded cluster, since each keeps a session's numbers for itself: one that is raised on the
 * shard of the metadata alone would not keep a late write from another shard. They are only looked up here, not made:
 * who takes over may find users' writes blocked (`layOutNumbers`). What is lacking is logged once.
 */
async function placesOf(core: ClusterCore, db: string): Promise<readonly Place[]> {
  const { facts, clients, commands } = core;
  if (facts.topology !== 'sharded') return [ONLY_PLACE];
  const { isSpread, slots, lacking } = await readNumberSlots(
    (command) => commands.run(clients.record, 'config', command, { limitMs: CONFIG_LIMIT_MS }),
    db,
  );
  // An `_id` of its own for each: a chunk must be able to move to a shard that has the session's document already.
  if (isSpread) {
    if (lacking.length > 0) warnOnce(core, unfenced(db, `of ${lacking.join(', ')}`));
    return slots.map((slot) => (session) => ({ _id: { session, slot }, slot }));
  }
  if (lacking.length > 1) warnOnce(core, unfenced(db, `other than that of ${db}`));
  return [ONLY_PLACE];
}

function unfenced(db: string, which: string): string {
  return `${db}.${NUMBERS} has no place on shards ${which}: a write that was lost on its way to one of them is carried out there if it arrives late`;
}

function warnOnce({ told, logger, name }: ClusterCore, text: string): void {
  if (told.has(text)) return;
  told.add(text);
  logger.warn(`${name}: ${text}`);
}

/** One real retryable write: the server, or each shard, stores the number with it, and a majority has both. */
function storeIn(
  places: readonly Place[],
  { core, client, db }: { readonly core: ClusterCore; readonly client: DriverClient; readonly db: string },
): StoreNumber {
  const { unblocked, commands } = core;
  return async (session: DriverSession, id: Binary, txnNumber: Long) => {
    const updates = places.map((place) => ({ q: place(id), u: { $set: { number: txnNumber } }, upsert: true }));
    const command = { update: NUMBERS, updates, ordered: false, writeConcern: MAJORITY_WRITE, txnNumber };
    const reply = await unblocked.send(command, (ready) =>
      commands.run(client, db, ready, { session, limitMs: WRITE_LIMIT_MS }),
    );
    requireCarriedOut(reply);
  };
}
