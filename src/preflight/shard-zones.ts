/** Checks what sharded clusters are told of where data may lie: zones, and shards that are being removed. */
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { readShards } from '../layout/shards.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';

/** Where chunks may lie is for their zones to say, which the migration does not know. */
export async function checkZones(
  destination: Cluster,
  collections: readonly { ns: Namespace }[],
  scope: Scope,
  signal: AbortSignal,
): Promise<Finding[]> {
  const targets = new Set(collections.map(({ ns }) => nsText(scope.target(ns))));
  const zoned = await zonedNamespaces(destination, signal);
  const found = zoned.filter((ns) => targets.has(ns) || !scope.sharesDestination);
  if (found.length === 0) return [];
  return [
    blocker(
      'ZonesOnDestination',
      `cannot migrate into namespaces that already have shard tags configured: ${found.slice(0, 5).join(', ')}`,
      'Remove their zone ranges with sh.removeTagRange(), and add them after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

/** Zones are of a cluster's shards by name, which the destination does not have. */
export async function checkSourceZones(
  source: Cluster,
  sharded: readonly { ns: Namespace }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const names = new Set(sharded.map(({ ns }) => nsText(ns)));
  const found = (await zonedNamespaces(source, signal)).filter((ns) => names.has(ns));
  if (found.length === 0) return [];
  return [
    warning(
      'ZonesNotMigrated',
      `the zones of ${found.length} collections are not carried over: ${found.slice(0, 5).join(', ')}`,
      'Add shards to zones and zone ranges on the destination after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function zonedNamespaces(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  const command = { distinct: 'tags', key: 'ns', query: {} };
  const reply = await cluster.read('reading zones', 'config', command, signal);
  return (reply['values'] as string[]).filter((ns) => !ns.startsWith('config.'));
}

/** Shards that are to leave their cluster during the migration, which their data would not. */
export async function checkDraining(cluster: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const found = (await readShards(cluster, signal)).filter(({ isDraining }) => isDraining).map(({ name }) => name);
  if (found.length === 0) return [];
  return [
    warning(
      'ShardDraining',
      `shards of ${cluster.label} are being removed: ${found.join(', ')}`,
      'Wait until removeShard has ended: its balancer, which empties them, is stopped during the migration.',
    ),
  ];
}
