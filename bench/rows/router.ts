/** Measures what a router between mongoferry and its destination costs. */
import { cpuSeconds } from '../../test/support/cpu-seconds.js';
import { FerryClient } from '../../test/support/ferry-client.js';
import { FerryProcess } from '../../test/support/ferry-process.js';
import { ReplicaSet } from '../../test/support/replica-set.js';
import { ROUTER } from '../../test/support/router-process.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { ShardedCluster } from '../../test/support/sharded-cluster.js';
import { type Cpu, type Figure, progress, timed } from '../figures.js';

const DOCUMENT_BYTES = 826;
const COLLECTIONS = 4;
const WAIT_MS = 20 * 60_000;

/** A cluster of one shard, or that shard itself, with the processes that it consists of. */
interface Destination {
  readonly uri: string;
  readonly isSharded: boolean;
  readonly servers: readonly number[];
  readonly router: number | undefined;
}

interface Copied {
  readonly seconds: number;
  readonly cpu: Cpu;
  readonly router: number;
}

/**
 * The same copy to a cluster of one shard and to a plain set: what differs is the router. One shard, since two would be two
 * servers that share the machine's cores.
 */
export async function routerRows(documents: number): Promise<Figure[]> {
  await using source = await ReplicaSet.start({ name: 'source' });
  await seedBulk(await source.connect(), { collections: COLLECTIONS, documents, documentBytes: DOCUMENT_BYTES });
  progress('the copy without a router');
  const without = await copyToSet(source);
  progress(`the copy through ${ROUTER}`);
  await using cluster = await ShardedCluster.start({ name: 'to', shards: 1 });
  const servers = [cluster.config, ...cluster.shards].map((set) => set.members[0]?.pid ?? 0);
  const through = await copy(source, {
    ...{ uri: cluster.uri, isSharded: true, servers },
    router: cluster.routers[0]?.pid,
  });
  return [
    {
      what: `copy through ${ROUTER}`,
      value: through.seconds,
      unit: 's',
      floor: { what: 'without', value: without.seconds },
      cpu: through.cpu,
      more: {
        "router's CPU s": through.router,
        'own CPU s without': without.cpu.own,
        "destination's CPU s without": without.cpu.destination,
      },
    },
  ];
}

async function copyToSet(source: ReplicaSet): Promise<Copied> {
  await using set = await ReplicaSet.start({ name: 'plain' });
  const servers = [set.members[0]?.pid ?? 0];
  return await copy(source, { uri: set.uri, isSharded: false, servers, router: undefined });
}

async function copy(source: ReplicaSet, destination: Destination): Promise<Copied> {
  await using ferry = await FerryProcess.start({ cluster0: source.uri, cluster1: destination.uri });
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitUntilInitialized();
  const cpuNow = (): number[] => {
    const servers = destination.servers.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const router = destination.router === undefined ? 0 : cpuSeconds(destination.router);
    return [cpuSeconds(ferry.pid), cpuSeconds(source.members[0]?.pid ?? 0), servers, router];
  };
  const before = cpuNow();
  const { seconds } = await timed(async () => {
    const sharding = destination.isSharded ? { sharding: { shardingEntries: shardingEntries() } } : {};
    await client.start({ verification: { enabled: false }, ...sharding });
    await client.waitFor('the end of the copy', ({ info }) => info === 'change event application', WAIT_MS);
  });
  const [own = 0, from = 0, to = 0, router = 0] = cpuNow().map((after, index) => after - (before[index] ?? 0));
  return { seconds, cpu: { own, source: from, destination: to }, router };
}

/** Sharded by `_id`, which needs no other index. */
function shardingEntries() {
  return Array.from({ length: COLLECTIONS }, (_, index) => ({
    database: 'bulk',
    collection: `c${index}`,
    shardCollection: { key: [{ _id: 1 }] },
  }));
}
