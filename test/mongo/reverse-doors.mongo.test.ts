import { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { CliCommand, type CliRun } from '../support/ferry-cli.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { createUser, REVERSIBLE_PRIVILEGES } from '../support/ferry-users.js';
import { insertRefusal } from '../support/refusal.js';
import { RestClient } from '../support/rest-client.js';
import { atEnd, sharedPair } from '../support/shared-servers.js';
import { isBlocked } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const USER_WRITES_BLOCKED = 371;

const { pair, source: one, destination: two } = await sharedPair(test, { auth: true, keepData: true });
const ferryUser = { name: 'ferry', privileges: REVERSIBLE_PRIVILEGES };
const uris = {
  cluster0: await createUser(pair.source, one, ferryUser),
  cluster1: await createUser(pair.destination, two, ferryUser),
};
const applicationUser = { name: 'app', roles: ['readWriteAnyDatabase', 'dbAdminAnyDatabase'] };
const applications = [
  new MongoClient(await createUser(pair.source, one, applicationUser)),
  new MongoClient(await createUser(pair.destination, two, applicationUser)),
] as const;
for (const application of applications) atEnd(test, () => application.close());

/** Which of the two applications may write: the codes of an insert on each side. */
async function refusals(): Promise<(number | undefined)[]> {
  const codes: (number | undefined)[] = [];
  for (const client of applications) codes.push(await insertRefusal(client, 'shop', 'items'));
  return codes;
}

const ON_SECOND = [USER_WRITES_BLOCKED, undefined];
const ON_FIRST = [undefined, USER_WRITES_BLOCKED];

test('commit and reverse over REST, gRPC and the command line, as users with the documented roles', async () => {
  const migrate = async () => {
    const items = one.db('shop').collection<{ sku: number }>('items');
    await items.insertMany(Array.from({ length: 100 }, (_, n) => ({ sku: n })));
    await items.createIndex({ sku: 1 }, { unique: true, sparse: true });
    await using ferry = await FerryProcess.start(uris);
    using client = new FerryClient(ferry.grpcTarget);
    const rest = new RestClient(() => ferry.httpUrl);
    const run = (...words: string[]): Promise<CliRun> => new CliCommand([...words, '--target', ferry.grpcTarget]).ended;
    await client.waitUntilInitialized();
    const body =
      '{"source": "cluster0", "destination": "cluster1", "reversible": true, "enableUserWriteBlocking": true}';
    assert.equal(await rest.post('start', body), { status: 200, body: { success: true } });
    const early = await rest.post('reverse');
    assert.equal([early.status, early.body['error']], [409, 'InvalidStateTransition']);
    await client.waitForCanCommit();
    assert.equal(await refusals(), ON_FIRST);
    await client.waitForCanCommit();
    assert.is((await run('commit', '--wait')).code, 0);
    await assertEqualClusters(one, two);
    assert.equal(await refusals(), ON_SECOND);

    const insert = [{ resource: { db: '', collection: '' }, actions: ['insert'] }];
    await one.db('admin').command({ revokePrivilegesFromRole: 'ferryRole', privileges: insert });
    const poor = await rest.post('reverse');
    assert.equal([poor.status, poor.body['error']], [412, 'MissingPrivilege']);
    assert.match(String(poor.body['errorDescription']), /cluster0 lacks actions on .*: insert/);
    assert.is((await client.progress()).state, 'COMMITTED');
    await one.db('admin').command({ grantPrivilegesToRole: 'ferryRole', privileges: insert });

    const reversing = await run('reverse', '--wait');
    assert.equal([reversing.code, reversing.stderr], [0, ''], reversing.stdout);
    assert.match(
      reversing.stdout.trim().split('\n').at(-1) ?? '',
      /^RUNNING, change event application.*, cluster1: .* to cluster0: /,
    );
    const progress = await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
    const mapping = progress['directionMapping'] as Record<string, string>;
    assert.match(`${mapping['Source']} ${mapping['Destination']}`, /^cluster1: .* cluster0: /);
    assert.equal(await refusals(), ON_SECOND, 'the applications go on where they are');
    assert.equal(await rest.post('start', body), { status: 200, body: { success: true } }, 'as runbooks do');
    await client.commitAndWait();
    await assertEqualClusters(one, two);
    assert.equal(await refusals(), ON_FIRST);

    assert.equal(await rest.post('reverse'), { status: 200, body: { success: true } });
    await client.waitForCanCommit();
    assert.equal(await rest.post('commit'), { status: 200, body: { success: true } });
    await client.waitForState('COMMITTED');
    assert.equal([await isBlocked(one), await isBlocked(two)], [true, false]);
    await assertEqualClusters(one, two);

    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await items.insertOne({ sku: -1 });
    const refused = await rest.post('reverse');
    assert.equal([refused.status, refused.body['error']], [409, 'ReverseSourceModified']);
    const again = await run('reverse', '--wait');
    assert.is(again.code, 1);
    assert.match(again.stderr, /^mongoferry: ReverseSourceModified: insert of shop\.items on cluster0/);
    assert.is((await client.progress()).state, 'COMMITTED');
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

test.run();
