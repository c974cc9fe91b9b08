import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMIT_POINTS, killAt } from '../support/commit-points.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(() => seedRestorable(source, 500));

for (const point of Object.values(COMMIT_POINTS)) {
  test(`killed in COMMITTING ${point.name}, a restart completes the commit by itself`, async () => {
    const killAndRestart = async () => {
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
    };
    await within(TEST_MS, killAndRestart(), point.name);
  });
}

test.run();
