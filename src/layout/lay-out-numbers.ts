/** Gives each shard of a destination a place for the numbers of lost writes. */
import type { Doc } from '../bson/bson.js';
import { codeOf, isTransient, safeText } from '../cluster/errors.js';
import { NUMBERS, type NumberSlots, readNumberSlots, SLOT_KEY } from '../cluster/number-slots.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { readUsableShards } from './shards.js';

const WHAT = 'laying out the numbers of lost writes';

/**
 * Shards the collection of numbers in the metadata database `db` so that each shard has a chunk of it: [-∞, 0) one, [0, 1)
 * the next, and so on. A shard that was added since gets one, too. Repeatable; three short reads where nothing is lacking.
 * Nothing is done where there is one shard only, or none.
 *
 * Why so early, and not where a number is stored: whoever takes over stores numbers before it has the right to write, and
 * may find users' writes blocked, under which shards and chunks are changed only by those who may pass the block.
 *
 * Resolves with a warning where the server refuses it: the migration goes on without, as safe as its one shard with a
 * place makes it. Errors: LeaseLost; the server's that did not pass.
 */
export async function layOutNumbers(
  destination: WritableCluster,
  db: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!destination.isSharded || destination.sessionIds.length === 0) return undefined;
  return destination.attempt(WHAT, signal, async () => {
    try {
      await layOut(destination, db, signal);
      return undefined;
    } catch (error) {
      if (!isRefused(error)) throw error;
      const { isSpread, lacking } = await lookUp(destination, db, signal);
      const where = isSpread ? lacking.join(', ') : `those that do not hold ${db}`;
      return `the numbers of lost writes could not be given a place on all shards of ${destination.label}: ${safeText(error)}. A write of an earlier process that arrives late would not be refused on shards ${where}`;
    }
  });
}

/** Reads again what there is, after whatever has ended an earlier try. */
async function layOut(destination: WritableCluster, db: string, signal: AbortSignal): Promise<void> {
  const ns = `${db}.${NUMBERS}`;
  const send = async (on: string, command: Doc): Promise<void> => {
    await destination.write(on, command, { signal });
  };
  let found = await lookUp(destination, db, signal);
  if (found.lacking.length === 0) return;
  if (!found.isSpread) {
    if (found.lacking.length === 1) return;
    // One that holds documents is sharded only where it has the index.
    await send(db, { createIndexes: NUMBERS, indexes: [{ key: SLOT_KEY, name: 'slot_1' }] });
    await send('admin', { shardCollection: ns, key: SLOT_KEY });
    found = await lookUp(destination, db, signal);
  }
  const usable = new Set(await readUsableShards(destination, signal));
  let { next } = found;
  for (const to of found.lacking.filter((shard) => usable.has(shard))) {
    const slot = next++;
    await send('admin', { split: ns, middle: { slot } });
    await send('admin', { moveChunk: ns, find: { slot }, to });
  }
}

function lookUp(destination: WritableCluster, db: string, signal: AbortSignal): Promise<NumberSlots> {
  return readNumberSlots((command) => destination.command('config', command, { control: true, signal }), db);
}

/** A write block is not waited for here: it is no reason not to go on. */
function isRefused(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'WritesBlocked';
  return codeOf(error) !== undefined && !isTransient(error);
}
