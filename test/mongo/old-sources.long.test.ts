/** The long migrations of old-sources.mongo.test.ts from 5.0, which takes the same ways as 4.4. */
import { test } from 'uvu';
import { changeCatalog, migrateEverything } from '../support/old-sources.js';
import { within } from '../support/within.js';

/** The first use of an old server fetches it. */
const TEST_MS = 300_000;

for (const version of ['5.0'] as const) {
  test(`from ${version}: everything under a workload of documents, over kills (-9), a pause and the commit`, async () => {
    await within(TEST_MS, migrateEverything(version), `the migration from ${version}`);
  });

  test(`from ${version}: each change of the catalog, and a late write, is told by name`, async () => {
    await within(TEST_MS, changeCatalog(version), `the migrations from ${version}`);
  });
}

test.run();
