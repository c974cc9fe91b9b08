/** Checks what only a sharded source can have wrong: indexes and `_id`s that differ between shards, and orphans. */
import { canonicalText, type Doc, decodeOrdered, idText, type OrderedDoc } from '../bson/bson.js';
import { idDocument } from '../bson/raw-document.js';
import { numberOf } from '../catalog/collection-spec.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { rawBatches } from '../documents/raw-cursor.js';
import { mapLimit } from '../lib/limit.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';

const PARALLEL = 4;
/** Of larger collections `_id`s that are on several shards are not looked for: it reads all of their `_id` indexes. */
const MAX_COMPARED_IDS = 10_000_000;

/** createIndexes may succeed on one shard and fail on another; a mongos shows the indexes of one shard only. */
export async function checkConsistency(
  source: Cluster,
  sharded: readonly { ns: Namespace }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const differing = await mapLimit(
    sharded,
    PARALLEL,
    ({ ns }, inner) => differsBetweenShards(source, ns, inner),
    signal,
  );
  const found = sharded.filter((_, index) => differing[index]).map(({ ns }) => nsText(ns));
  if (found.length === 0) return [];
  return [
    blocker(
      'InconsistentIndexes',
      `the indexes of ${found.length} collections differ between the shards of the source: ${found.slice(0, 5).join(', ')}`,
      'Create or drop the index again on the source, so that every shard has it or none.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function differsBetweenShards(source: Cluster, ns: Namespace, signal: AbortSignal): Promise<boolean> {
  const command = {
    aggregate: ns.coll,
    pipeline: [{ $indexStats: {} }, { $project: { shard: 1, spec: 1 } }],
    cursor: {},
  };
  const byShard = new Map<string, string[]>();
  for await (const { documents } of rawBatches(source, { db: ns.db, command }, signal)) {
    for (const raw of documents) {
      const entry = decodeOrdered(raw);
      const shard = String(entry.get('shard'));
      byShard.set(shard, [...(byShard.get(shard) ?? []), canonicalText(entry.get('spec'))]);
    }
  }
  return new Set([...byShard.values()].map((specs) => specs.sort().join())).size > 1;
}

/** Documents that a chunk's move has left behind are filtered by reads through a mongos, but counted. */
export function checkOrphans(source: Cluster): Finding[] {
  if (source.isAtLeast(6)) return [];
  return [
    warning(
      'OrphansPossible',
      `${source.label} may hold orphaned documents, which servers before 6.0 do not clean up by themselves`,
      'Run cleanupOrphaned on each of its shards. Orphans are not migrated, but they count in estimates.',
    ),
  ];
}

/** Each shard keeps its `_id`s unique, and no shard knows the others': one destination set cannot hold two alike. */
export async function checkIds(
  source: Cluster,
  sharded: readonly { ns: Namespace; sharding: { key: OrderedDoc } | undefined }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  // A key that begins with the `_id` keeps them apart.
  for (const { ns, sharding } of sharded) {
    const [first] = sharding?.key.keys() ?? [];
    if (first !== '_id') findings.push(...(await checkIdsOf(source, ns, signal)));
  }
  return findings;
}

async function checkIdsOf(source: Cluster, ns: Namespace, signal: AbortSignal): Promise<Finding[]> {
  const counted = await source.read(`counting ${nsText(ns)}`, ns.db, { count: ns.coll }, signal);
  if (numberOf(counted['n']) > MAX_COMPARED_IDS)
    return [
      warning(
        'DuplicateIdsNotChecked',
        `${nsText(ns)} is too large to look for _ids that several of its documents share`,
        'Each shard keeps its own _ids unique. If two may have the same one, rehearse the migration first: it would fail.',
        [nsText(ns)],
      ),
    ];
  const pipeline = [
    { $group: { _id: '$_id', n: { $sum: 1 } } },
    { $match: { n: { $gt: 1 } } },
    { $limit: MAX_NAMED },
    { $project: { _id: 1 } },
  ];
  const command: Doc = { aggregate: ns.coll, pipeline, cursor: {}, allowDiskUse: true };
  const found: string[] = [];
  for await (const { documents } of rawBatches(source, { db: ns.db, command }, signal))
    found.push(...documents.map((raw) => idText(idDocument(raw) ?? raw)));
  if (found.length === 0) return [];
  const number = found.length === MAX_NAMED ? `${MAX_NAMED} or more` : String(found.length);
  return [
    blocker(
      'DuplicateIds',
      `${number} _ids of ${nsText(ns)} are on several shards of the source, and the destination can have each once: ${found.join(', ')}`,
      'Give each document an _id of its own.',
      [nsText(ns)],
    ),
  ];
}
