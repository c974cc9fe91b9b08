import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { type ReplicaSet, startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';
import { Workload } from '../support/workload.js';

async function killPrimary(set: ReplicaSet): Promise<void> {
  const { index } = await set.waitForPrimary();
  await set.kill(index);
  await set.waitForPrimary();
  await set.restart(index);
}

for (const side of ['source', 'destination'] as const) {
  test(`elections and a crash of the ${side}'s primary lose nothing`, async () => {
    await within(
      200_000,
      async () => {
        await using pair = await startPair({ [side]: { members: 3 } });
        const source = await pair.source.connect();
        const workload = new Workload({ client: source, seed: 5, without: ['convertToCapped'] });
        await workload.prepare();
        await workload.run({ operations: 300 });
        await using harness = await MigrationHarness.open(pair);
        await harness.migration.start(DEFAULT_START);
        const set = pair[side];
        for (const disturb of [() => set.stepDown(), () => killPrimary(set), () => set.stepDown()]) {
          // The workload itself goes on over the election where it hits the source: its own retries are not the subject.
          const writing = workload.run({ operations: 150 }).catch((error: unknown) => error);
          await disturb();
          await writing;
          await workload.run({ operations: 50 }).catch((error: unknown) => error);
        }
        await harness.commit();
        assert.equal(await compareClusters(source, await pair.destination.connect()), []);
      },
      'the migration over elections',
    );
  });
}

test.run();
