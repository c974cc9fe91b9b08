/** Stops the balancer of a sharded cluster for the time of a migration, and starts it again. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { StoredRecord } from '../metadata/stored-record.js';

/** How long a round under way may take to end, in milliseconds. Source: MongoDB manual, balancerStop; mongosync's limit. */
const STOP_MS = 15 * 60_000;

/** Whether a sharded cluster's balancer is on; false for any other deployment. Source: MongoDB manual, balancerStatus. */
export async function isBalancerOn(cluster: Cluster, signal: AbortSignal): Promise<boolean> {
  if (!cluster.isSharded) return false;
  const reply = await cluster.read('asking for the balancer', 'admin', { balancerStatus: 1 }, signal);
  return reply['mode'] !== 'off';
}

/** The clusters whose balancers are held, and the record that remembers which of them we stopped. */
export interface HeldBalancers {
  readonly clusters: readonly WritableCluster[];
  readonly record: Pick<StoredRecord, 'value' | 'update'>;
}

/**
 * Stops the balancers that are on, and waits until they rest. Which ones is stored before, so that whoever ends the
 * migration starts them again. Repeatable. Resolves with one line for each that the server refused to stop, which
 * endangers nothing: moved chunks are followed. Errors: the server's while they may pass.
 */
export async function holdBalancers({ clusters, record }: HeldBalancers, signal: AbortSignal): Promise<string[]> {
  const refused: string[] = [];
  for (const cluster of clusters) {
    try {
      if (!(await isBalancerOn(cluster, signal))) continue;
      const known = record.value.stoppedBalancers ?? [];
      if (!known.includes(cluster.name)) await record.update({ stoppedBalancers: [...known, cluster.name] }, signal);
      await setBalancer(cluster, { balancerStop: 1, maxTimeMS: STOP_MS }, signal);
    } catch (error) {
      if (codeOf(error) === undefined || isTransient(error)) throw error;
      refused.push(
        `the balancer of ${cluster.label} could not be stopped: ${safeText(error)}. Moved chunks are followed, but slow the migration down. Stop it there with sh.stopBalancer()`,
      );
    }
  }
  return refused;
}

/** Starts the balancers again that were stopped for this migration. Repeatable. Errors: the server's. */
export async function releaseBalancers({ clusters, record }: HeldBalancers, signal: AbortSignal): Promise<void> {
  for (const cluster of clusters) {
    const stopped = record.value.stoppedBalancers ?? [];
    if (!stopped.includes(cluster.name)) continue;
    await setBalancer(cluster, { balancerStart: 1 }, signal);
    const left = stopped.filter((name) => name !== cluster.name);
    await record.update({ stoppedBalancers: left.length === 0 ? undefined : left }, signal);
  }
}

async function setBalancer(cluster: WritableCluster, command: Doc, signal: AbortSignal): Promise<void> {
  const what = `${Object.keys(command)[0]} on ${cluster.name}`;
  await cluster.attempt(what, signal, () => cluster.structure('admin', command, { signal }));
}
