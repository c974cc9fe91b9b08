/** Turns a replica set's options into flags of mongod. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { MongodRequest } from './mongod-binary.js';
import type { TlsFiles } from './tls-files.js';

/** What a replica set is started with; every option may be left out. */
export interface ReplicaSetOptions {
  /** Default 1. */
  readonly members?: 1 | 3;
  /** Key file between the members, and a user with the role root. Default false. */
  readonly auth?: boolean;
  /** Content of the key file, where several sets share one. Default with `auth`: random. */
  readonly key?: string;
  /** What the set is in a sharded cluster. Default: nothing, a set of its own. */
  readonly clusterRole?: 'configsvr' | 'shardsvr';
  /** TLS on every connection, clients with a certificate. Default false. */
  readonly tls?: boolean;
  /** Default `'6.0'`. */
  readonly version?: MongodRequest;
  /** Given to mongod as `--setParameter`, e.g. `{ ttlMonitorSleepSecs: '1' }`. */
  readonly setParameters?: Readonly<Record<string, string>>;
  /** Name of the set. Default `rs`. */
  readonly name?: string;
  /** Cache of each member, in GB. Default 0.5. */
  readonly cacheSizeGB?: number;
  /** Oplog of each member, in MB. Default 990, the smallest that is truncated. */
  readonly oplogSizeMB?: number;
  /** Time after which a lost primary is replaced, in ms. Default 2000 (the server's own: 10000). */
  readonly electionTimeoutMs?: number;
  /**
   * Given where a member listens, resolves with the address that the set's configuration tells others, e.g. a proxy's.
   * Its clients find it there. Default: where it listens.
   */
  readonly announce?: (host: string, index: number) => Promise<string>;
  /** A set that no other file has used or will use, e.g. since a test kills or restarts it. Default false. */
  readonly own?: boolean;
  /** Ends the start; what was started by then is removed. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The flags that all members of a set share; writes the key file into `folder` where `auth` asks for one.
 * Units and defaults: as {@link ReplicaSetOptions} tells.
 */
export async function mongodFlags(
  options: ReplicaSetOptions,
  setName: string,
  folder: string,
  tls: TlsFiles | undefined,
): Promise<string[]> {
  const { auth, cacheSizeGB = 0.5, clusterRole, oplogSizeMB = 990, setParameters } = options;
  const flags = ['--replSet', setName, '--wiredTigerCacheSizeGB', `${cacheSizeGB}`, '--oplogSize', `${oplogSizeMB}`];
  if (clusterRole !== undefined) flags.push(`--${clusterRole}`);
  // Data for MongoDB's support engineers, gathered every second.
  const parameters = { diagnosticDataCollectionEnabled: 'false', ...setParameters };
  for (const [name, value] of Object.entries(parameters)) flags.push('--setParameter', `${name}=${value}`);
  if (auth) {
    const keyFile = path.join(folder, 'key');
    await writeFile(keyFile, options.key ?? randomKey(), { mode: 0o600 });
    flags.push('--keyFile', keyFile);
  }
  if (tls) {
    flags.push('--tlsMode', 'requireTLS', '--tlsCAFile', tls.caFile);
    flags.push('--tlsCertificateKeyFile', tls.serverCertFile);
  }
  return flags;
}

/** Content of a key file. */
export function randomKey(): string {
  return randomBytes(96).toString('base64');
}
