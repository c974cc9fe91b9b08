import type { MongoClient } from 'mongodb';
import { ObjectId } from './bson.js';
import { Code, codeOf } from './errors.js';

/** What is known of a deployment; found once at connect and passed on. */
export interface ClusterFacts {
  readonly version: readonly [number, number, number];
  readonly versionText: string;
  readonly topology: 'replicaSet' | 'sharded' | 'standalone';
  /** Identity that survives new hosts and passwords: `replSetGetConfig.settings.replicaSetId`; '' when not readable. */
  readonly setId: string;
  /** "host:port" of the primary or the first seed, never with credentials. */
  readonly address: string;
  /** "name@database" of the user of these connections; '' where access control is off. */
  readonly user: string;
}

/** Asks a deployment what it is. Errors are the driver's. */
export async function readFacts(client: MongoClient): Promise<ClusterFacts> {
  const admin = client.db('admin');
  const [hello, build, status] = await Promise.all([
    admin.command({ hello: 1 }),
    admin.command({ buildInfo: 1 }),
    admin.command({ connectionStatus: 1 }),
  ]);
  const topology =
    hello['msg'] === 'isdbgrid' ? 'sharded' : typeof hello['setName'] === 'string' ? 'replicaSet' : 'standalone';
  const [major = 0, minor = 0, patch = 0] = build['versionArray'] as number[];
  const seed = client.options.hosts[0];
  return {
    version: [major, minor, patch],
    versionText: String(build['version']),
    topology,
    setId: topology === 'replicaSet' ? await readSetId(client) : '',
    user: usersOf(status['authInfo']),
    address: typeof hello['primary'] === 'string' ? hello['primary'] : (seed?.toString() ?? 'unknown'),
  };
}

function usersOf(authInfo: unknown): string {
  const { authenticatedUsers } = authInfo as { authenticatedUsers: { user: string; db: string }[] };
  return authenticatedUsers.map(({ user, db }) => `${user}@${db}`).join();
}

async function readSetId(client: MongoClient): Promise<string> {
  try {
    const reply = await client.db('admin').command({ replSetGetConfig: 1 });
    const id: unknown = (reply['config'] as { settings?: { replicaSetId?: unknown } }).settings?.replicaSetId;
    return id instanceof ObjectId ? id.toHexString() : '';
  } catch (error) {
    // Needs clusterMonitor or better; the preflight names the privilege.
    if (codeOf(error) === Code.Unauthorized) return '';
    throw error;
  }
}
