/** Commits that are killed at a point of theirs and completed by a restart. */
import * as assert from 'uvu/assert';
import { type CommitPoint, type Ends, killAt } from './commit-points.js';
import { assertEqualClusters } from './compare-clusters.js';
import { FerryClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import type { SharedPair } from './shared-servers.js';
import { isBlocked } from './stored-migration.js';

/** Kills a commit there, and sees a restart complete it. */
export async function killAndComplete(
  { pair, source, destination }: Ends & Pick<SharedPair, 'pair'>,
  point: CommitPoint,
): Promise<void> {
  await using ferry = await FerryProcess.between(pair);
  await killAt(ferry, { source, destination }, point);
  // Of the killed process's commands one may still be held; a block is only ever lifted by them.
  if (!point.isHandedOver) assert.ok(await isBlocked(destination), 'blocked until the restart decides');
  await ferry.restart();
  using client = new FerryClient(ferry.grpcTarget);
  const { canWrite } = await client.waitForState('COMMITTED');
  assert.ok(canWrite);
  assert.not.ok(await isBlocked(destination));
  await assertEqualClusters(source, destination);
}
