/** Finds out at connect what a deployment is: version, topology, identity. */
import { ObjectId } from '../bson/bson.js';
import type { DriverClient } from './driver.js';
import { Code, codeOf } from './errors.js';

/** What is known of a deployment; found once at connect and passed on. */
export interface ClusterFacts {
  readonly version: readonly [number, number, number];
  readonly versionText: string;
  readonly topology: 'replicaSet' | 'sharded' | 'standalone';
  /**
   * Identity that survives new hosts and passwords: `replSetGetConfig.settings.replicaSetId`, or of a sharded cluster
   * `config.version.clusterId`; '' when not readable.
   */
  readonly setId: string;
  /** "host:port" of the primary, or of the first seed (a mongos), never with credentials. */
  readonly address: string;
  /** "name@database" of the user of these connections; '' where access control is off. */
  readonly user: string;
}

/** Asks a deployment what it is. Errors are the driver's. */
export async function readFacts(client: DriverClient): Promise<ClusterFacts> {
  const [hello, build, status] = await Promise.all([
    client.command('admin', { hello: 1 }),
    client.command('admin', { buildInfo: 1 }),
    client.command('admin', { connectionStatus: 1 }),
  ]);
  const topology =
    hello['msg'] === 'isdbgrid' ? 'sharded' : typeof hello['setName'] === 'string' ? 'replicaSet' : 'standalone';
  const [major = 0, minor = 0, patch = 0] = build['versionArray'] as number[];
  return {
    version: [major, minor, patch],
    versionText: String(build['version']),
    topology,
    setId: await identityOf(client, topology),
    user: usersOf(status['authInfo']),
    address: typeof hello['primary'] === 'string' ? hello['primary'] : (client.seed ?? 'unknown'),
  };
}

function usersOf(authInfo: unknown): string {
  const { authenticatedUsers } = authInfo as { authenticatedUsers: { user: string; db: string }[] };
  return authenticatedUsers.map(({ user, db }) => `${user}@${db}`).join();
}

async function identityOf(client: DriverClient, topology: ClusterFacts['topology']): Promise<string> {
  if (topology === 'standalone') return '';
  return topology === 'sharded' ? readClusterId(client) : readSetId(client);
}

/** A mongos has no `replSetGetConfig`; the config servers give every sharded cluster an id of its own. */
async function readClusterId(client: DriverClient): Promise<string> {
  const find = { find: 'version', filter: { clusterId: { $exists: true } }, limit: 1, singleBatch: true };
  try {
    const reply = await client.command('config', find);
    const [found] = (reply['cursor'] as { firstBatch: { clusterId?: unknown }[] }).firstBatch;
    return found?.clusterId instanceof ObjectId ? found.clusterId.toHexString() : '';
  } catch (error) {
    if (codeOf(error) === Code.Unauthorized) return '';
    throw error;
  }
}

async function readSetId(client: DriverClient): Promise<string> {
  try {
    const reply = await client.command('admin', { replSetGetConfig: 1 });
    const id: unknown = (reply['config'] as { settings?: { replicaSetId?: unknown } }).settings?.replicaSetId;
    return id instanceof ObjectId ? id.toHexString() : '';
  } catch (error) {
    // Needs clusterMonitor or better; the preflight names the privilege.
    if (codeOf(error) === Code.Unauthorized) return '';
    throw error;
  }
}
