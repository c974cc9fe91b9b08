/** Compares one database of two clusters, either of which may be sharded: catalog, shard keys and every document. */
import type { Document, MongoClient } from 'mongodb';
import { BSON } from 'mongodb';
import { rawAll } from './compare-clusters-read.js';

/** What of the two may differ. */
export interface ComparisonOptions {
  /** Whether both are sharded: then shard keys must be the same. */
  readonly shardKeys: boolean;
}

/**
 * How a database differs, a line each; none when the two have the same collections, indexes and documents, byte for byte.
 * Several documents with one `_id` are all compared. Both must be clients of one router or set.
 */
export async function compareDatabase(
  source: MongoClient,
  destination: MongoClient,
  db: string,
  { shardKeys }: ComparisonOptions,
): Promise<string[]> {
  const [left, right] = await Promise.all([describe(source, db), describe(destination, db)]);
  const differences: string[] = [];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [a, b] = [left.get(name), right.get(name)];
    if (a === undefined || b === undefined) {
      differences.push(`${name}: only on the ${a === undefined ? 'destination' : 'source'}`);
      continue;
    }
    if (a.indexes.join() !== b.indexes.join())
      differences.push(`${name}: indexes ${a.indexes.join()} and ${b.indexes.join()}`);
    if (a.options !== b.options) differences.push(`${name}: options ${a.options} and ${b.options}`);
    if (shardKeys && a.key !== b.key) differences.push(`${name}: shard key ${a.key} and ${b.key}`);
    differences.push(...(await compareDocuments(source, destination, db, name)));
  }
  return differences;
}

interface Described {
  readonly indexes: readonly string[];
  readonly options: string;
  readonly key: string;
}

async function describe(client: MongoClient, db: string): Promise<Map<string, Described>> {
  const keys = await client.db('config').collection('collections').find().toArray();
  const keyByName = new Map(keys.map((each) => [String(each['_id']), JSON.stringify(each['key'])]));
  const found = new Map<string, Described>();
  for (const { name, options = {} } of (await client.db(db).listCollections().toArray()) as Document[]) {
    if (String(name).startsWith('system.')) continue;
    const indexes = await client.db(db).collection(name).indexes();
    const texts = indexes.map(({ v: _, name: own, ...spec }) => `${own} ${JSON.stringify(spec)}`).sort();
    found.set(name, { indexes: texts, options: JSON.stringify(options), key: keyByName.get(`${db}.${name}`) ?? '' });
  }
  return found;
}

async function compareDocuments(
  source: MongoClient,
  destination: MongoClient,
  db: string,
  name: string,
): Promise<string[]> {
  const read = async (client: MongoClient) =>
    (await rawAll(client, { db, command: { find: name, readConcern: { level: 'majority' } } })).sort(Buffer.compare);
  const [a, b] = await Promise.all([read(source), read(destination)]);
  const [here, there] = [new Set(a.map(textOf)), new Set(b.map(textOf))];
  const missing = a.filter((raw) => !there.has(textOf(raw)));
  const extra = b.filter((raw) => !here.has(textOf(raw)));
  const lines = [...missing.map((raw) => `missing ${shown(raw)}`), ...extra.map((raw) => `extra ${shown(raw)}`)];
  if (lines.length === 0 && a.length === b.length) return [];
  return [`${name}: ${a.length} and ${b.length} documents: ${lines.slice(0, 10).join('; ')}`];
}

function textOf(raw: Buffer): string {
  return raw.toString('latin1');
}

function shown(raw: Buffer): string {
  return BSON.EJSON.stringify(BSON.deserialize(raw), { relaxed: true }).slice(0, 150);
}
