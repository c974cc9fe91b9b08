/** Writes to the source during the demo, as an application does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, type Collection, type MongoClient } from 'mongodb';
import { bulkDocument } from '../test/support/seed-data-bulk.js';
import { Random } from '../test/support/workload-random.js';

/** Where live writes go, and what is there at the beginning. */
export interface LiveWritesOptions {
  readonly client: MongoClient;
  readonly db: string;
  readonly collections: readonly string[];
  /** Documents that each collection holds, numbered from 0. */
  readonly documents: number;
  readonly documentBytes: number;
  readonly perSecond: number;
}

interface Item {
  readonly _id: number;
  readonly visits?: number;
  readonly word?: string;
  readonly tags?: number[];
}

function newItem(n: number, bytes: number): Item {
  return BSON.deserialize(bulkDocument(n, bytes)) as Item;
}

/**
 * What an application does all day: reads a document, changes it, adds one, takes one away; until the signal aborts.
 * Returns the number of writes.
 */
export async function writeLive(options: LiveWritesOptions, signal: AbortSignal): Promise<number> {
  const random = new Random(7);
  const started = performance.now();
  let next = options.documents;
  let writes = 0;
  while (!signal.aborted) {
    const due = started + (writes * 1000) / options.perSecond - performance.now();
    if (due > 1) await sleep(due, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    const items = options.client.db(options.db).collection<Item>(random.pick(options.collections));
    await writeOne(items, random, next, () => newItem(next++, options.documentBytes));
    writes++;
  }
  return writes;
}

async function writeOne(items: Collection<Item>, random: Random, end: number, newDocument: () => Item): Promise<void> {
  const _id = random.int(end);
  const kind = random.int(10);
  if (kind < 4) await items.updateOne({ _id }, { $inc: { visits: 1 }, $set: { word: `live ${random.int(1e6)}` } });
  else if (kind < 6) await items.updateOne({ _id }, { $push: { tags: { $each: [random.int(99)], $slice: -5 } } });
  else if (kind < 9) await items.insertOne(newDocument());
  else await items.deleteOne({ _id });
}
