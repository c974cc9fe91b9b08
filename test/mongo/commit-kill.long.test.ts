/** Kills at the points before that of no return which commit-kill.mongo.test.ts leaves out. */
import { test } from 'uvu';
import { COMMIT_POINTS } from '../support/commit-points.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { killAndComplete } from '../support/killed-commit.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(() => seedRestorable(source, 500));

const { beforeTime, restoring } = COMMIT_POINTS;

for (const point of [beforeTime, restoring]) {
  test(`killed in COMMITTING ${point.name}, a restart completes the commit by itself`, async () => {
    await within(TEST_MS, killAndComplete({ pair, source, destination }, point), point.name);
  });
}

test.run();
