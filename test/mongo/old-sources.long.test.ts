/**
 * The long migrations of old-sources.mongo.test.ts: whole from 4.4, the same from 5.0, which takes the same ways as 4.4,
 * and from 6.0.5 to 6.0.27.
 */
import { test } from 'uvu';
import { changeCatalog, migrateEverything, migrateToLatest } from '../support/old-sources.js';
import { within } from '../support/within.js';

/** The first use of an old server fetches it. */
const TEST_MS = 300_000;

for (const version of ['4.4', '5.0'] as const) {
  test(`from ${version}: everything under a workload of documents, over kills (-9), a pause and the commit`, async () => {
    await within(TEST_MS, migrateEverything(version), `the migration from ${version}`);
  });

  test(`from ${version}: each change of the catalog, and a late write, is told by name`, async () => {
    await within(TEST_MS, changeCatalog(version), `the migrations from ${version}`);
  });
}

for (const source of ['6.0', '6.0.27'] as const) {
  test(`from ${source} to 6.0.27`, async () => {
    await within(TEST_MS, migrateToLatest({ source, before: 400, during: 600 }), 'the migration');
  });
}

test.run();
