/** Reads the featureCompatibilityVersion, and tells what to do where it was lowered. */
import type { Cluster } from './cluster.js';
import { Code, codeOf } from './errors.js';
import type { ClusterFacts } from './facts.js';

/** A cluster whose featureCompatibilityVersion is looked at. */
export interface FcvCluster extends Pick<Cluster, 'isAtLeast' | 'isSharded' | 'label' | 'read'> {
  readonly facts: Pick<ClusterFacts, 'version'>;
}

/** A cluster's featureCompatibilityVersion, e.g. "6.0"; undefined when it may not be read. */
export async function readFcv(cluster: FcvCluster, signal: AbortSignal): Promise<string | undefined> {
  const what = 'reading the featureCompatibilityVersion';
  try {
    if (cluster.isSharded) return await readOfCluster(cluster, what, signal);
    const command = { getParameter: 1, featureCompatibilityVersion: 1 };
    const reply = await cluster.read(what, 'admin', command, signal);
    return (reply['featureCompatibilityVersion'] as { version: string }).version;
  } catch (error) {
    if (codeOf(error) === Code.Unauthorized) return undefined;
    throw error;
  }
}

/** A mongos has no such parameter: the config servers' own record of it is read. */
async function readOfCluster(cluster: FcvCluster, what: string, signal: AbortSignal): Promise<string | undefined> {
  const filter = { _id: 'featureCompatibilityVersion' };
  const command = { find: 'system.version', filter, limit: 1, singleBatch: true };
  const reply = await cluster.read(what, 'admin', command, signal);
  const [found] = (reply['cursor'] as { firstBatch: { version?: string }[] }).firstBatch;
  return found?.version;
}

/**
 * What to do about a featureCompatibilityVersion that was lowered: below 6.0 servers of 6.0 and later refuse commands
 * that the migration needs, with all sorts of codes. Undefined when it is all right, or may not be read.
 */
export async function loweredFcv(cluster: FcvCluster, signal: AbortSignal): Promise<string | undefined> {
  if (!cluster.isAtLeast(6)) return undefined;
  const version = await readFcv(cluster, signal);
  if (version === undefined || Number.parseFloat(version) >= 6) return undefined;
  const [major, minor] = cluster.facts.version;
  const command = `{setFeatureCompatibilityVersion: "${major}.${minor}"${major < 7 ? '' : ', confirm: true'}}`;
  return `the featureCompatibilityVersion of ${cluster.label} is ${version}, and the migration cannot go on with it; set it back to ${major}.${minor} with db.adminCommand(${command})`;
}
