import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildExample, type ClientLanguage, runExample } from '../support/client-examples.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { resetClusters } from '../support/stored-migration.js';
import { within } from '../support/within.js';

/** Tools are fetched at the first build of each. */
const BUILD_MS = 300_000;
const RUN_MS = 60_000;
const LANGUAGES: readonly ClientLanguage[] = ['typescript', 'python', 'go'];

const { pair, source, destination } = await sharedPair(test, { keepData: true });
// What a migration must carry does not depend on who calls.
await seedRestorable(source, 2000);

test.before.each(async () => {
  await resetClusters(destination);
});

async function migrateBy(language: ClientLanguage): Promise<void> {
  const example = await within(BUILD_MS, buildExample(language), `the example in ${language}`);
  await using ferry = await FerryProcess.between(pair);
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitForState('IDLE');
  const target = ferry.grpcTarget;
  const run = await within(RUN_MS, (signal) => runExample(example, { target, signal }), 'the example');
  assert.equal([run.code, run.stderr], [0, '']);
  const lines = run.stdout.trim().split('\n');
  assert.is(lines[0], 'start: accepted');
  assert.is(lines.filter((line) => line === 'commit: accepted').length, 1);
  assert.ok(
    lines.some((line) =>
      /^progress: RUNNING, change event application, copied (\d+) of \1 bytes, lag \d+ s$/.test(line),
    ),
    run.stdout,
  );
  assert.is(lines.at(-1), 'done: COMMITTED');
  assert.ok((await client.progress()).canWrite);
  await assertEqualClusters(source, destination);

  const again = await within(RUN_MS, (signal) => runExample(example, { target, signal }), 'the example, again');
  assert.is(again.code, 1);
  assert.match(again.stderr, /^InvalidStateTransition \(FAILED_?PRECONDITION\): the migration is COMMITTED/im);
}

for (const language of LANGUAGES) {
  test(`the example in ${language} carries out a whole migration`, async () => {
    await within(BUILD_MS + 2 * RUN_MS, migrateBy(language), language);
  });
}

test.run();
