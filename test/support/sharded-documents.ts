/** Reads all documents of a sharded cluster's collection, through a router and shard by shard, to compare them. */
import { BSON, type Document, type MongoClient } from 'mongodb';
import { rawAll } from './compare-clusters-read.js';
import { fieldsOf } from './router/raw-values.js';
import { RoutingTable } from './router/routing-table.js';
import { keyOf } from './router/targeting.js';
import type { ShardedCluster } from './sharded-cluster.js';

/** A shard's part of a collection. */
export interface ShardPart {
  readonly shard: string;
  /** Documents in the shard's own chunks, sorted by their bytes. */
  readonly owned: readonly Buffer[];
  /** What chunk moves left behind, or are bringing. */
  readonly orphans: readonly Buffer[];
}

/** All documents that a router (a client of one, not of several) finds, as raw BSON sorted by their bytes. Two with equal `_id`s, on two shards, are both there. */
export async function documentsThrough(router: MongoClient, ns: string): Promise<Buffer[]> {
  return sorted(await readAll(router, ns));
}

/** What each shard has, told apart by the chunks as the config server has them now; without chunks: all is owned. */
export async function documentsByShard(cluster: ShardedCluster, ns: string): Promise<ShardPart[]> {
  const table = await readTable(cluster, ns);
  const parts: ShardPart[] = [];
  for (const [index, { name }] of cluster.shards.entries()) {
    await using client = await cluster.shardClient(index);
    const all = sorted(await readAll(client, ns));
    const isOwned = (raw: Buffer): boolean => table === undefined || table.shardOf(keyOf(table, raw)) === name;
    parts.push({ shard: name, owned: all.filter(isOwned), orphans: all.filter((raw) => !isOwned(raw)) });
  }
  return parts;
}

/**
 * How a collection differs from what is expected (raw documents in any order), each a sentence; none when they are the
 * same, byte for byte, and the router shows just what the shards own.
 */
export async function compareSharded(
  cluster: ShardedCluster,
  ns: string,
  expected: readonly Buffer[],
): Promise<string[]> {
  // One router: a cursor is known to the one that opened it.
  await using client = await cluster.client({ router: 0 });
  const shown = await documentsThrough(client, ns);
  const owned = sorted((await documentsByShard(cluster, ns)).flatMap((part) => part.owned));
  return [
    ...differences(shown, sorted([...expected]), `${ns} through the router`),
    ...differences(owned, sorted([...expected]), `${ns} on the shards`),
  ];
}

function differences(actual: readonly Buffer[], expected: readonly Buffer[], what: string): string[] {
  const count = (of: readonly Buffer[]) => {
    const counts = new Map<string, number>();
    for (const raw of of) counts.set(raw.toString('latin1'), (counts.get(raw.toString('latin1')) ?? 0) + 1);
    return counts;
  };
  const [mine, theirs] = [count(actual), count(expected)];
  const told: string[] = [];
  for (const key of new Set([...mine.keys(), ...theirs.keys()])) {
    const [here, there] = [mine.get(key) ?? 0, theirs.get(key) ?? 0];
    if (here !== there) told.push(`${what}: ${here} times instead of ${there}: ${textOf(Buffer.from(key, 'latin1'))}`);
  }
  return told;
}

function textOf(raw: Buffer): string {
  return BSON.EJSON.stringify(BSON.deserialize(raw, { promoteValues: false }), { relaxed: false });
}

async function readAll(client: MongoClient, ns: string): Promise<Buffer[]> {
  const dot = ns.indexOf('.');
  return await rawAll(client, { db: ns.slice(0, dot), command: { find: ns.slice(dot + 1) } });
}

async function readTable(cluster: ShardedCluster, ns: string): Promise<RoutingTable | undefined> {
  await using client = await cluster.configClient();
  const read = (find: string, filter: Document) => rawAll(client, { db: 'config', command: { find, filter } });
  const [collection] = await read('collections', { _id: ns });
  if (collection === undefined) return undefined;
  const chunks = await read('chunks', { uuid: uuidOf(collection) });
  return new RoutingTable(fieldsOf(collection), chunks);
}

function uuidOf(collection: Buffer): unknown {
  return BSON.deserialize(collection)['uuid'];
}

function sorted(documents: Buffer[]): Buffer[] {
  return documents.sort(Buffer.compare);
}
