/** Looks after sharded clusters during a run: their balancers rest, shards that are added can refuse late writes. */

import type { WritableCluster } from '../cluster/writable-cluster.js';
import { isPastHandover } from '../cutover/commit.js';
import { holdBalancers, isBalancerOn, releaseBalancers } from '../layout/balancers.js';
import { layOutNumbers } from '../layout/lay-out-numbers.js';
import { findShardingChanges, shardingChanged } from '../layout/source-sharding.js';
import { sleep } from '../lib/signals.js';
import type { RunContext } from './run-context.js';

const WATCH_MS = 3000;
const SHARDS_WATCH_MS = 10_000;

/** With data of others on the destination its balancer may go on. Source: mongosync's reference, preExistingDestinationData. */
function heldClusters({ source, destination, scope }: RunContext): WritableCluster[] {
  const all = scope.sharesDestination ? [source] : [source, destination];
  return all.filter(({ isSharded }) => isSharded);
}

/** Stops the balancers of both clusters until the commit, but for those that the servers do not let us stop. */
export async function stopBalancers(context: RunContext, signal: AbortSignal): Promise<void> {
  const { record, listener } = context;
  if (isPastHandover(record.value)) return;
  for (const warning of await holdBalancers({ clusters: heldClusters(context), record }, signal))
    listener.warn(warning);
}

/** Starts again those that were stopped; after a commit that may be reversed they stay as they are. */
export async function startBalancers(context: RunContext, signal: AbortSignal): Promise<void> {
  const { source, destination, record, options } = context;
  if (!options.reversible) await releaseBalancers({ clusters: [source, destination], record }, signal);
}

/** Tells once, for each cluster, that somebody has started its balancer. Moved chunks are followed; it only costs time. */
export async function watchBalancers(context: RunContext, signal: AbortSignal): Promise<void> {
  const watched = new Set(heldClusters(context));
  while (watched.size > 0) {
    await sleep(WATCH_MS, signal);
    for (const cluster of watched) {
      if (context.record.value.stoppedBalancers?.includes(cluster.name) !== true) continue;
      if (!(await isBalancerOn(cluster, signal))) continue;
      watched.delete(cluster);
      context.listener.warn(
        `someone started the balancer of ${cluster.label} during the migration. Moved chunks are followed, but slow it down. Stop the balancer with sh.stopBalancer(); the migration starts it again at its end`,
      );
    }
  }
}

/**
 * Lets every shard of the destination refuse late writes, those too that were added since. Past the handover no documents
 * are written. Resolves with whether nothing stands against it; else a warning tells.
 */
export async function fenceShards(
  { destination, held, record, listener }: Pick<RunContext, 'destination' | 'held' | 'record' | 'listener'>,
  signal: AbortSignal,
): Promise<boolean> {
  if (isPastHandover(record.value)) return true;
  const refused = await layOutNumbers(destination, held.store.db, signal);
  if (refused !== undefined) listener.warn(refused);
  return refused === undefined;
}

/** As `fenceShards`, for shards that are added meanwhile. What was refused once is not asked for again in this run. */
export async function watchShards(context: RunContext, signal: AbortSignal): Promise<void> {
  if (!context.destination.isSharded) return;
  do await sleep(SHARDS_WATCH_MS, signal);
  while (await fenceShards(context, signal));
}

/**
 * Ends a migration whose source was given another shard key: documents would be followed by keys that are no longer
 * theirs. `settled`: resolves once all that has happened on the source until its call is applied; undefined while nothing
 * is. Errors: ShardingChanged, with the collections.
 */
export async function watchShardKeys(
  { source, collections }: RunContext,
  settled: ((signal: AbortSignal) => Promise<void>) | undefined,
  signal: AbortSignal,
): Promise<void> {
  while (source.isSharded) {
    await sleep(WATCH_MS, signal);
    const { certain, likely } = await findShardingChanges(source, collections.live(), signal);
    if (certain.length > 0) throw shardingChanged(certain);
    if (likely.length === 0 || settled === undefined) continue;
    await settled(signal);
    const still = (await findShardingChanges(source, collections.live(), signal)).likely;
    const found = likely.filter((each) => still.includes(each));
    if (found.length > 0) throw shardingChanged(found);
  }
}
