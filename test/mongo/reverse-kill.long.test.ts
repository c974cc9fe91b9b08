/** Kills between the points of reverse-kill.mongo.test.ts, after which a restart takes one of the same ways. */
import { test } from 'uvu';
import { FAIL_POINTS } from '../support/fail-points.js';
import { killAndTurnAround, REVERSE_POINTS, seedReversible } from '../support/reverse-points.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source: one, destination: two } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(() => seedReversible(one));

for (const point of [REVERSE_POINTS.bothRecords, REVERSE_POINTS.prepared]) {
  test(`killed in REVERSING ${point.name}, a restart turns the migration around by itself`, async () => {
    await within(TEST_MS, killAndTurnAround({ pair, one, two }, point), point.name);
  });
}

test.run();
