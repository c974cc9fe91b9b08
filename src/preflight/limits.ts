/** Checks the limits of servers: numbers of indexes, capped sizes, profiles. */
import type { OrderedDoc } from '../bson/bson.js';
import type { CatalogEntry } from '../catalog/catalog.js';
import { numberOf } from '../catalog/collection-spec.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { mapLimit } from '../lib/limit.js';
import { type Finding, MAX_NAMED, warning } from './finding.js';

const PARALLEL = 8;
/** The server permits 64, the one on `_id` among them. */
const MOST_INDEXES = 63;
const CAPPED_UNIT = 256;
const MAX_CAPPED_DOCUMENTS = 2 ** 31 - 1;

/** A collection with its secondary indexes. */
export interface Listed {
  readonly entry: CatalogEntry;
  readonly indexes: readonly OrderedDoc[];
}

/** Collections that have as many indexes as a server permits: no other one can be added, not even for a moment. */
export function checkIndexCount(listed: readonly Listed[]): Finding[] {
  const found = listed.filter(({ indexes }) => indexes.length + 1 > MOST_INDEXES).map(({ entry }) => nsText(entry.ns));
  if (found.length === 0) return [];
  return [
    warning(
      'ManyIndexes',
      `collections have more than ${MOST_INDEXES} indexes: ${found.slice(0, 5).join(', ')}`,
      'Drop the ones that no query uses; a server permits 64.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

/** Sizes that a server would have rounded, or takes by collMod only: they are given back at the commit, by collMod. */
export function checkCapped(entries: readonly CatalogEntry[]): Finding[] {
  const found = entries.filter(({ options }) => hasOddSettings(options)).map(({ ns }) => nsText(ns));
  if (found.length === 0) return [];
  return [
    warning(
      'CappedSettings',
      `capped collections have a size that is not a multiple of ${CAPPED_UNIT} bytes, or an unusual maximum: ${found.slice(0, 5).join(', ')}`,
      'Rehearse the commit: it fails if the destination rounds these sizes. collMod with cappedSize changes a size.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

function hasOddSettings(options: OrderedDoc): boolean {
  if (options.get('capped') !== true) return false;
  const size = numberOf(options.get('size') ?? 0);
  const max = numberOf(options.get('max') ?? 0);
  return size <= 0 || size % CAPPED_UNIT !== 0 || max < 0 || max > MAX_CAPPED_DOCUMENTS;
}

/** Databases with a profile: neither it nor the level that fills it is migrated. */
export async function checkProfiling(
  source: Cluster,
  databases: readonly string[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const command = { listCollections: 1, nameOnly: true, filter: { name: 'system.profile' } };
  const profiled = await mapLimit(
    databases,
    PARALLEL,
    async (db, inner) => {
      const reply = await source.read('looking for profiles', db, command, inner);
      return (reply['cursor'] as { firstBatch: unknown[] }).firstBatch.length > 0;
    },
    signal,
  );
  const found = databases.filter((_, i) => profiled[i]);
  if (found.length === 0) return [];
  return [
    warning(
      'ProfilingNotMigrated',
      `databases have a profile, and neither the profile nor its level is migrated: ${found.slice(0, 5).join(', ')}`,
      'Set the level on the destination after the commit; switch it off on the source for a faster copy.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}
