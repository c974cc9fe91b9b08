/** Checks what only migrations with a sharded side can have wrong. */
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { readShards } from '../layout/shards.js';
import { listMigrated } from './destination-namespaces.js';
import { blocker, type Finding } from './finding.js';
import { checkKeys, type KeyOptions } from './shard-keys.js';
import { checkDraining, checkSourceZones, checkZones } from './shard-zones.js';
import { checkConsistency, checkIds, checkOrphans } from './sharded-source.js';

/** The start options that these checks depend on. */
export interface ShardingOptions extends KeyOptions {
  readonly scope: Scope;
  readonly reversible: boolean;
}

/** Whether the option `sharding` is given where it must be, and `reversible` where it may be. Reads the shards at most. */
export async function checkShardingPair(
  source: Cluster,
  destination: Cluster,
  { sharding, reversible }: Pick<ShardingOptions, 'sharding' | 'reversible'>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const isNeeded = !source.isSharded && destination.isSharded;
  if (isNeeded && sharding === null)
    findings.push(
      blocker(
        'OptionNotSupported',
        'a migration from a replica set to a sharded cluster needs the option sharding',
        'Name in sharding.shardingEntries the collections to shard; [] shards none.',
      ),
    );
  if (!isNeeded && sharding !== null)
    findings.push(
      blocker(
        'OptionNotSupported',
        'the option sharding is only for a migration from a replica set to a sharded cluster',
        'Leave it out: shard keys are carried over from a sharded source.',
      ),
    );
  if (!reversible) return findings;
  if (isNeeded || (source.isSharded && !destination.isSharded))
    findings.push(
      blocker(
        'OptionNotSupported',
        'reversible is not possible between a replica set and a sharded cluster',
        'Start without it.',
      ),
    );
  if (!source.isSharded || !destination.isSharded) return findings;
  const [from, to] = [(await readShards(source, signal)).length, (await readShards(destination, signal)).length];
  if (from !== to)
    findings.push(
      blocker(
        'OptionNotSupported',
        `reversible needs as many shards on both sides, not ${from} and ${to}`,
        'Start without it, or add shards first.',
      ),
    );
  return findings;
}

/** What stands against sharding the destination's collections, and against following those of a sharded source. */
export async function checkSharding(
  source: Cluster,
  destination: Cluster,
  options: ShardingOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  if (!source.isSharded && !destination.isSharded) return [];
  const { entries } = await listMigrated(source, options.scope, signal);
  const collections = entries.filter(({ type }) => type === 'collection');
  const findings: Finding[] = [];
  if (destination.isSharded) {
    findings.push(...(await checkKeys(source, collections, options, signal)));
    findings.push(...(await checkZones(destination, collections, options.scope, signal)));
    findings.push(...(await checkDraining(destination, signal)));
  }
  if (source.isSharded) {
    const sharded = collections.filter(({ sharding }) => sharding !== undefined);
    findings.push(...(await checkConsistency(source, sharded, signal)), ...checkOrphans(source));
    if (!destination.isSharded) findings.push(...(await checkIds(source, sharded, signal)));
    findings.push(...(await checkDraining(source, signal)), ...(await checkSourceZones(source, sharded, signal)));
  }
  return findings;
}
