/** Cuts an empty sharded collection into chunks and spreads them, so that the copy fills all shards alike. */
import { type Doc, decodeOrdered, encode, MaxKey, type OrderedDoc } from '../bson/bson.js';
import { numberOf } from '../catalog/collection-spec.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { rawBatches } from '../documents/raw-cursor.js';
import { readUsableShards } from './shards.js';

/** A collection to be spread. */
export interface ToSpread {
  readonly sourceNs: Namespace;
  readonly ns: Namespace;
  readonly key: OrderedDoc;
}

/** Documents that are looked at: the bytes of a shard are within some 2 % of even by so many. */
const SAMPLES = 10_000;
/** Of that many documents and fewer all are looked at. */
const FEW = 20_000;

/**
 * Gives every shard of the destination one range of the key, with as many bytes of the source's documents in each. Call
 * for a collection that is empty: moving a chunk of it takes a tenth of a second, and of a full one hours.
 *
 * Why not the source's own chunks: they say nothing of bytes, the source may have another number of shards, and a replica
 * set has none. So documents are sampled there, and the key's values at each n-th of their bytes become the bounds.
 * Errors: the server's. Source: MongoDB manual, split, moveChunk, $sample.
 */
export async function spreadChunks(
  clusters: { readonly source: Cluster; readonly destination: WritableCluster },
  collection: ToSpread,
  signal: AbortSignal,
): Promise<void> {
  const { source, destination } = clusters;
  const { ns, key } = collection;
  const shards = await readUsableShards(destination, signal);
  const chunks = await readChunks(destination, ns, signal);
  const [only] = chunks;
  // The server spreads a hashed key by itself, and an earlier run may have done this.
  if (only === undefined || chunks.length > 1 || shards.length < 2) return;
  const bounds = await boundsOf(source, collection, shards.length, signal);
  if (bounds.length === 0) return;
  const end: OrderedDoc = new Map([...key.keys()].map((name) => [name, new MaxKey()]));
  for (const middle of bounds) await changeCatalog(destination, 'admin', { split: nsText(ns), middle }, signal);
  const others = shards.filter((name) => name !== only.shard);
  for (const [index, min] of bounds.entries()) {
    const to = others[index];
    if (to === undefined) break;
    const range = [min, bounds[index + 1] ?? end];
    await changeCatalog(destination, 'admin', { moveChunk: nsText(ns), bounds: range, to }, signal);
  }
}

/** So many bounds less one, in ascending order; fewer where many documents have one value. */
async function boundsOf(
  source: Cluster,
  { sourceNs, key }: ToSpread,
  parts: number,
  signal: AbortSignal,
): Promise<OrderedDoc[]> {
  const samples = await sample(source, sourceNs, key, signal);
  const total = samples.reduce((sum, each) => sum + each.bytes, 0);
  const bounds: OrderedDoc[] = [];
  let [passed, previous] = [0, samples[0]?.text];
  for (const { values, text, bytes } of samples) {
    if (passed >= (total * (bounds.length + 1)) / parts && text !== previous && bounds.length < parts - 1)
      bounds.push(values);
    previous = text;
    passed += bytes;
  }
  return bounds;
}

interface Sample {
  readonly values: OrderedDoc;
  readonly text: string;
  readonly bytes: number;
}

/** In the order of the key, which only the server knows. */
async function sample(source: Cluster, ns: Namespace, key: OrderedDoc, signal: AbortSignal): Promise<Sample[]> {
  const fields = [...key].map(([path, kind], index) => ({ name: `k${index}`, path, kind }));
  const project = Object.fromEntries(fields.map(({ name, path, kind }) => [name, expressionOf(path, kind)]));
  const sort = new Map(fields.map(({ name, kind }) => [name, kind === -1 || numberOf(kind) === -1 ? -1 : 1]));
  const documents = await countOf(source, ns, signal);
  const pipeline = [
    ...(documents > FEW ? [{ $sample: { size: SAMPLES } }] : []),
    { $project: { _id: 0, ...project, bytes: { $bsonSize: '$$ROOT' } } },
    { $sort: sort },
  ];
  const command = { aggregate: ns.coll, pipeline, cursor: {}, allowDiskUse: true };
  return source.attempt(`sampling ${nsText(ns)}`, signal, async () => {
    const samples: Sample[] = [];
    for await (const batch of rawBatches(source, { db: ns.db, command }, signal)) {
      for (const raw of batch.documents) {
        const doc = decodeOrdered(raw);
        const values: OrderedDoc = new Map(fields.map(({ name, path }) => [path, doc.get(name)]));
        samples.push({ values, text: encode(values).toString('latin1'), bytes: numberOf(doc.get('bytes')) });
      }
    }
    return samples;
  });
}

/** A hashed field is ordered by its hash. */
function expressionOf(path: string, kind: unknown): Doc {
  const value = { $ifNull: [`$${path}`, null] };
  return kind === 'hashed' ? { $toHashedIndexKey: value } : value;
}

async function countOf(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<number> {
  const reply = await cluster.read(`counting ${nsText(ns)}`, ns.db, { count: ns.coll }, signal);
  return numberOf(reply['n']);
}

interface Chunk {
  readonly shard: string;
}

async function readChunks(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<readonly Chunk[]> {
  const find = { find: 'collections', filter: { _id: nsText(ns) }, projection: { uuid: 1 }, limit: 1 };
  const found = await cluster.read('reading a shard key', 'config', find, signal);
  const [entry] = (found['cursor'] as { firstBatch: { uuid: unknown }[] }).firstBatch;
  if (entry === undefined) return [];
  const command = { find: 'chunks', filter: { uuid: entry.uuid }, projection: { shard: 1 }, limit: 2 };
  const reply = await cluster.read('reading chunks', 'config', command, signal);
  return (reply['cursor'] as { firstBatch: Chunk[] }).firstBatch;
}
