/** Keeps a place on every shard of a cluster, where the numbers of lost writes are stored. */
import { type Doc, Int32 } from '../bson/bson.js';
import type { Commands } from './commands.js';
import type { DriverClient } from './driver.js';

/** What the places are looked for and made with. */
export interface SlotParts {
  readonly client: DriverClient;
  readonly commands: Commands;
  /** The metadata database, and its collection of numbers. */
  readonly db: string;
  readonly coll: string;
}

const LIMIT_MS = 60_000;

/**
 * One value of the field `slot` for each shard, which a document with it goes to; only for sharded clusters. The
 * collection is sharded by that field, with a chunk for each shard: [-∞, 0) on one, [0, 1) on the next, and so on. A shard
 * that was added since gets a chunk, too.
 *
 * Why: each shard keeps a session's numbers for itself. One that is raised on the shard of the metadata alone would not
 * keep a late write from another shard. Errors: the driver's.
 */
export async function numberSlots(parts: SlotParts): Promise<number[]> {
  const { db, coll } = parts;
  const name = `${db}.${coll}`;
  const shards = (await find(parts, 'shards', {})).map(({ _id }) => String(_id));
  if ((await find(parts, 'collections', { _id: name })).length === 0)
    await admin(parts, { shardCollection: name, key: { slot: 1 } });
  const chunks = await chunksOf(parts, name);
  const without = shards.filter((shard) => !chunks.some((each) => each.shard === shard));
  let next = Math.max(0, ...chunks.map(({ slot }) => slot + 1));
  for (const to of without) {
    const middle = { slot: new Int32(next++) };
    await admin(parts, { split: name, middle });
    await admin(parts, { moveChunk: name, find: middle, to });
  }
  return (await chunksOf(parts, name)).map(({ slot }) => slot);
}

async function chunksOf(parts: SlotParts, name: string): Promise<{ readonly slot: number; readonly shard: string }[]> {
  const [entry] = await find(parts, 'collections', { _id: name });
  const chunks = await find(parts, 'chunks', { uuid: entry?.['uuid'] });
  return chunks.map(({ min, shard }) => {
    const { slot } = min as { slot: unknown };
    // Below all numbers: the first chunk.
    return { slot: typeof slot === 'number' ? slot : -1, shard: String(shard) };
  });
}

async function find({ client, commands }: SlotParts, coll: string, filter: Doc): Promise<Doc[]> {
  const readConcern = { level: 'majority' };
  const command = { find: coll, filter, sort: { _id: 1 }, batchSize: 1000, readConcern };
  const reply = await commands.run(client, 'config', command, { limitMs: LIMIT_MS });
  return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch;
}

async function admin({ client, commands }: SlotParts, command: Doc): Promise<void> {
  await commands.run(client, 'admin', command, { limitMs: LIMIT_MS });
}
