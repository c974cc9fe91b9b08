/** Migrates one tenant of a workload with kills on the way. */
import type { MongoClient } from 'mongodb';
import { compareClusters } from './compare-clusters.js';
import { FerryClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import type { ReplicaSetPair } from './replica-set.js';
import { TENANT_FILTER, TenantWorkload } from './tenant-workload.js';
import { Random } from './workload-random.js';

const COMMIT_MS = 120_000;

/** Documents of three tenants, so many that the copy takes a while, and the workload's collections. */
export async function seedTenants(client: MongoClient, perTenant: number): Promise<void> {
  const db = client.db('tenants');
  for (const name of ['a', 'b', 'c']) await db.createCollection(name);
  const docs = Array.from({ length: perTenant * 3 }, (_, n) => {
    return { _id: `bulk ${n}`, tenant: ['red', 'blue', 7][n % 3], pad: 'x'.repeat(300) };
  });
  if (docs.length > 0) await db.collection<{ _id: string }>('a').insertMany(docs as never[]);
}

/** How much of a migration with kills: the workload's operations between them are as many whatever this says. */
export interface TenantPlan {
  readonly seed: number;
  readonly kills: number;
  /** Documents of each tenant besides the workload's. */
  readonly perTenant: number;
}

/** Migrates one tenant of a workload, with kills (-9) on the way. Resolves with what differs in the end. */
export async function migrateTenantWithKills(
  pair: ReplicaSetPair,
  { seed, kills, perTenant }: TenantPlan,
): Promise<string[]> {
  const [from, to] = [await pair.source.connect(), await pair.destination.connect()];
  const random = new Random(seed);
  await seedTenants(from, perTenant);
  const workload = new TenantWorkload(from, seed);
  await workload.run(400);
  await using ferry = await FerryProcess.between(pair);
  using first = new FerryClient(ferry.grpcTarget);
  const [matchValues, { field }] = [[...TENANT_FILTER.request.matchValues], TENANT_FILTER.request];
  await first.start({ documentFilter: { field, matchValues } });
  for (let kill = 0; kill < kills; kill++) {
    await workload.run(50 + random.int(250));
    await ferry.kill();
    await ferry.restart();
  }
  await workload.run(500);
  using last = new FerryClient(ferry.grpcTarget);
  await last.waitUntilInitialized();
  await last.commitAndWait(COMMIT_MS);
  return compareClusters(from, to, { documentFilter: TENANT_FILTER.query });
}
