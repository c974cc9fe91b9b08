/** A primary whose host vanishes: no connection is closed, nobody is told, and what is under way there gets no answer. */
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { type FaultProxy, startProxiedSet } from '../support/fault-proxy.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedSet } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 180_000;
/** Less than the kernel's keepalive takes, and than the limit of a note. */
const SOON_MS = 90_000;

const proxied = await startProxiedSet({ members: 3 });
test.after(async () => {
  await proxied[Symbol.asyncDispose]();
});
const destination = await sharedSet(test);

/** A commit whose note gets no answer from the present primary; `happens` gives the set another one. */
async function commitWithoutAnswer(
  happens: (primary: MongoClient, proxy: FaultProxy) => Promise<unknown>,
): Promise<void> {
  const source = await proxied.set.connect();
  const target = await destination.connect();
  for (const client of [source, target]) await client.db('shop').dropDatabase();
  await target.db(METADATA_DB).dropDatabase();
  await source
    .db('shop')
    .collection('items')
    .insertMany([{ n: 1 }, { n: 2 }]);
  const { me } = await source.db('admin').command({ hello: 1 });
  const index = proxied.proxies.findIndex(({ host }) => host === me);
  const proxy = proxied.proxies[index] as FaultProxy;
  await using harness = await MigrationHarness.open({ source: proxied.set, destination });
  await harness.sync();
  const rule = proxy.halfOpen({
    command: 'appendOplogNote',
    where: (message) => message.body()['data']?.mongoferry === 'commit',
  });
  const happened = rule.hit().then(async () => happens(await proxied.connectPast(index), proxy));
  await harness.migration.commit();
  await happened;
  await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED', SOON_MS);
  proxy.clear();
  proxy.comeBack();
  await assertEqualClusters(source, target);
}

test('a commit whose note is under way to a host that vanishes goes on with the new primary', async () => {
  const vanish = commitWithoutAnswer(async (_, proxy) => proxy.vanish());
  await within(TEST_MS, vanish, 'the commit');
});

test('a commit whose note is never answered goes on as soon as another server is primary', async () => {
  const stepDown = commitWithoutAnswer((primary) => primary.db('admin').command({ replSetStepDown: 60 }));
  await within(TEST_MS, stepDown, 'the commit');
});

test.run();
