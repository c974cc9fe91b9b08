/** Decides which collections are copied in natural order. */
import { type Doc, decodeOrdered, survivesDecoding } from '../bson/bson.js';
import { idDocument } from '../bson/raw-document.js';
import { numberOf } from '../catalog/collection-spec.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf } from '../cluster/errors.js';
import type { MigratedCollection } from '../metadata/collections.js';

/** Which collections are copied in natural order, i.e. in that of their records on disk. */
export interface NaturalOrder {
  /** No collections: the whole database; database ".": everything. */
  readonly named: readonly { readonly database: string; readonly collections: readonly string[] }[];
  /** Whether large collections are looked at for random `_id`s. */
  readonly detectRandomId: boolean;
  /** Size in bytes above which they are. */
  readonly detectAboveBytes: number;
}

/** mongosync's limit for `detectRandomId`. Source: its release notes, 1.18. */
export const DETECT_ABOVE_BYTES = 20 * 1024 ** 3;

const SAMPLES = 20;
const NEIGHBOURS = 50;
/** Neighbours by `_id` are near when their records are no further apart than this part of the collection. */
const NEAR = 0.01;

/**
 * Whether a collection is copied in natural order, by one scan. Not where order is data (capped: always natural, but by
 * its own rules), nor where natural order is that of the `_id`s anyway (clustered), which ranges copy side by side.
 */
export async function isNatural(
  source: Cluster,
  collection: MigratedCollection,
  bytes: number,
  order: NaturalOrder,
  signal: AbortSignal,
): Promise<boolean> {
  if (collection.capped || collection.options.has('clusteredIndex')) return false;
  const { db, coll } = collection.sourceNs;
  const isNamed = order.named.some(
    ({ database, collections }) =>
      database === '.' || (database === db && (collections.length === 0 || collections.includes(coll))),
  );
  if (isNamed) return true;
  // Records of several shards have no common order.
  return (
    order.detectRandomId &&
    !source.isSharded &&
    bytes > order.detectAboveBytes &&
    hasRandomIds(source, collection, signal)
  );
}

/**
 * Whether reading in `_id` order would jump about the collection. From random places the next documents in `_id` order
 * are read with their record ids, off the `_id` index alone: where `_id`s follow insertion, in either direction, and in
 * however many interleaved sequences, the records of most neighbours lie near each other; where `_id`s are random,
 * those of about one in fifty do.
 */
export async function hasRandomIds(
  source: Cluster,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<boolean> {
  const runs: number[][] = [];
  for (const start of await sampleIds(source, collection, signal)) {
    if (survivesDecoding(start)) runs.push(await recordsFrom(source, collection, start, signal));
  }
  const all = runs.flat();
  const range = Math.max(...all) - Math.min(...all);
  const distances = runs.flatMap((run) =>
    run.slice(1).map((record, index) => Math.abs(record - (run[index] as number))),
  );
  if (distances.length === 0) return false;
  const near = distances.filter((distance) => distance <= Math.max(1, range * NEAR)).length;
  return near < distances.length / 2;
}

async function sampleIds(
  source: Cluster,
  { sourceNs: ns }: MigratedCollection,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const pipeline = [{ $sample: { size: SAMPLES } }, { $project: { _id: 1 } }];
  const command = { aggregate: ns.coll, pipeline, cursor: {} };
  const documents = await firstBatch(source, `sampling ${nsText(ns)}`, ns.db, command, signal);
  return documents.flatMap((each) => idDocument(each) ?? []);
}

/** The record ids of documents that follow each other by `_id`. */
async function recordsFrom(
  source: Cluster,
  { sourceNs: ns }: MigratedCollection,
  start: Buffer,
  signal: AbortSignal,
): Promise<number[]> {
  const command = {
    find: ns.coll,
    filter: {},
    hint: { _id: 1 },
    min: decodeOrdered(start),
    projection: { _id: 1 },
    showRecordId: true,
    limit: NEIGHBOURS,
    singleBatch: true,
  };
  const documents = await firstBatch(source, `sampling ${nsText(ns)}`, ns.db, command, signal);
  return documents.map((each) => numberOf(decodeOrdered(each).get('$recordId')));
}

async function firstBatch(
  source: Cluster,
  what: string,
  db: string,
  command: Doc,
  signal: AbortSignal,
): Promise<Buffer[]> {
  try {
    const reply = await source.read(what, db, command, signal, { firstBatch: true });
    return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch;
  } catch (error) {
    // Dropped or renamed since it was listed: the copy finds out.
    if (codeOf(error) === Code.NamespaceNotFound || codeOf(error) === Code.QueryPlanKilled) return [];
    throw error;
  }
}
