/** Finds where on a sharded cluster the numbers of lost writes are stored: one place on each shard. */
import type { Doc } from '../bson/bson.js';

/** The collection of a metadata database in which the numbers of lost writes are stored. */
export const NUMBERS = 'numbers';
/** By which it is sharded, so that a document can be sent to any shard that has a chunk. */
export const SLOT_KEY = { slot: 1 } as const;

/** Below all bounds of chunks: a place in the first one. */
const FIRST_SLOT = -1;

/** How the numbers of one metadata database are spread over the shards. */
export interface NumberSlots {
  /** Whether the collection is sharded as it is to be. */
  readonly isSpread: boolean;
  /** One for each shard that has a place: the value of `slot` that a document goes there with. */
  readonly slots: readonly number[];
  /** Above all that are taken. */
  readonly next: number;
  /** The shards without a place: all of them where the collection is not spread. */
  readonly lacking: readonly string[];
}

/** Runs a `find` in the database `config`. */
export type FindInConfig = (command: Doc) => Promise<Doc>;

/**
 * The places for the numbers in the metadata database `db`: three short reads, as the config servers' majority has it.
 * Source: MongoDB manual, config database. Errors: those of `find`.
 */
export async function readNumberSlots(find: FindInConfig, db: string): Promise<NumberSlots> {
  const name = `${db}.${NUMBERS}`;
  const shards = (await read(find, 'shards', {})).map(({ _id }) => String(_id));
  // Newer servers list collections that are not sharded, too.
  const [entry] = await read(find, 'collections', { _id: name, key: SLOT_KEY, unsplittable: { $ne: true } });
  if (entry === undefined) return { isSpread: false, slots: [], next: 0, lacking: shards };
  const chunks = (await read(find, 'chunks', { uuid: entry['uuid'] })).map(toChunk);
  const byShard = new Map(chunks.map(({ shard, slot }) => [shard, slot]));
  return {
    isSpread: true,
    slots: [...byShard.values()].sort((a, b) => a - b),
    next: Math.max(FIRST_SLOT, ...chunks.map(({ slot }) => slot)) + 1,
    lacking: shards.filter((shard) => !byShard.has(shard)),
  };
}

function toChunk({ min, shard }: Doc): { readonly slot: number; readonly shard: string } {
  const { slot } = min as { slot: unknown };
  return { slot: typeof slot === 'number' ? slot : FIRST_SLOT, shard: String(shard) };
}

async function read(find: FindInConfig, coll: string, filter: Doc): Promise<Doc[]> {
  const reply = await find({
    find: coll,
    filter,
    sort: { _id: 1 },
    batchSize: 10_000,
    readConcern: { level: 'majority' },
  });
  return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch;
}
