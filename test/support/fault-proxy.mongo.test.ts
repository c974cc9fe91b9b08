/** Proves that the fault proxy does what it is told. */
import { type Collection, type Document, MongoClient, type MongoClientOptions } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from './compare-clusters.js';
import { startProxiedSet } from './fault-proxy.js';
import { MigrationHarness } from './migration-harness.js';
import { ReplicaSet } from './replica-set.js';
import { atEnd } from './shared-servers.js';
import { resetClusters } from './stored-migration.js';
import { eventually, within } from './within.js';

const TEST_MS = 60_000;
const TRANSACTION_TOO_OLD = 225;

const { set, proxy, connectPast, [Symbol.asyncDispose]: dispose } = await startProxiedSet();
atEnd(test, async () => await dispose());
const past = await connectPast();
const items: Collection<{ _id: number }> = past.db('shop').collection<{ _id: number }>('items');

test.before.each(async () => {
  proxy.clear();
  proxy.comeBack({ deliver: true });
  await items.deleteMany({});
});

/** A test with a client through the proxy whose commands are not tried again. */
function proxied(name: string, body: (client: MongoClient) => Promise<void>, options: MongoClientOptions = {}): void {
  const run = async (): Promise<void> => {
    const client = await set.connect({ retryReads: false, retryWrites: false, ...options });
    try {
      await body(client);
    } finally {
      proxy.clear();
      proxy.comeBack();
      await client.close();
    }
  };
  test(name, async () => await within(TEST_MS, run(), name));
}

async function outcome(work: Promise<unknown>): Promise<Error | undefined> {
  return await work.then(
    () => undefined,
    (error: unknown) => error as Error,
  );
}

const idsOf = async (): Promise<number[]> => (await items.find().sort({ _id: 1 }).toArray()).map(({ _id }) => _id);

proxied('a driver finds the set behind its proxies, and large messages pass both ways', async (client) => {
  const seen = proxy.delay({ command: 'find' }, 0);
  const docs = client.db('shop').collection<Document>('items');
  const pads = Array.from({ length: 20 }, (_, n) => ({ _id: n as never, pad: String(n).repeat(300_000) }));
  await docs.insertMany(pads);
  assert.equal(await docs.find().sort({ _id: 1 }).toArray(), pads);
  const [find] = seen.hits;
  assert.equal([find?.command, find?.db, find?.collection, find?.direction], ['find', 'shop', 'items', 'request']);
  assert.equal(find?.body()['sort'], { _id: 1 });
});

proxied(
  'a request that is dropped is not carried out; only the nth of those that match is befallen',
  async (client) => {
    const rule = proxy.drop({ command: 'insert', collection: 'items', nth: 2 });
    const own = client.db('shop').collection<{ _id: number }>('items');
    await own.insertOne({ _id: 1 });
    assert.match(String(await outcome(own.insertOne({ _id: 2 }))), /MongoNetworkError/);
    await own.insertOne({ _id: 3 });
    assert.equal(await idsOf(), [1, 3]);
    assert.is(rule.hits.length, 1);
  },
);

proxied(
  'an answer that is lost: the server has carried the request out, the client has a network error',
  async (client) => {
    const rule = proxy.loseAnswer({ command: 'insert', db: 'shop' });
    const own = client.db('shop').collection<{ _id: number }>('items');
    const failed = outcome(own.insertOne({ _id: 1 }));
    assert.is((await rule.answerLost())['n'], 1);
    assert.equal(await idsOf(), [1]);
    assert.match(String(await failed), /MongoNetworkError/);
  },
);

proxied('a held insert is delivered later, after later writes, and its answer is seen', async (client) => {
  const rule = proxy.hold({ command: 'insert', collection: 'items' });
  const own = client.db('shop').collection<{ _id: number }>('items');
  assert.match(String(await outcome(own.insertOne({ _id: 1 }))), /MongoNetworkError/);
  const held = await rule.held();
  await own.insertOne({ _id: 2 });
  await client.close();
  assert.equal(await idsOf(), [2]);
  assert.is((await held.deliver())?.['n'], 1);
  assert.equal(await idsOf(), [1, 2]);
});

proxied(
  'a held request whose client stays is answered once it is delivered; its client may be cut meanwhile',
  async (client) => {
    const rule = proxy.hold({ command: 'insert', times: 2 }, { cutClient: false });
    const own = client.db('shop').collection<{ _id: number }>('items');
    const first = outcome(own.insertOne({ _id: 1 }));
    await (await rule.held()).deliver();
    assert.is(await first, undefined);
    const second = outcome(own.insertOne({ _id: 2 }));
    const held = await rule.held(1);
    held.cutClient();
    assert.match(String(await second), /MongoNetworkError/);
    await held.deliver();
    assert.equal(await idsOf(), [1, 2]);
  },
);

test('a held one with a lower txnNumber than its session has used since is refused', async () => {
  const check = async (): Promise<void> => {
    const rule = proxy.hold({ command: 'insert' });
    const writer = await set.connect({ retryWrites: true });
    const own = writer.db('shop').collection<{ _id: number }>('items');
    const session = writer.startSession();
    // The driver numbers them from 1; when the first is cut it sends that again.
    await own.insertOne({ _id: 1 }, { session });
    const held = await rule.held();
    assert.is(Number(held.message.body()['txnNumber']), 1);
    await own.insertOne({ _id: 2 }, { session });
    await items.deleteOne({ _id: 1 });
    const answer = await held.deliver();
    assert.equal([answer?.['ok'], answer?.['code']], [0, TRANSACTION_TOO_OLD]);
    assert.equal(await idsOf(), [2]);
    await session.endSession();
    await writer.close();
  };
  await within(TEST_MS, check(), 'the check');
});

proxied('a held answer: the server is done, the client waits', async (client) => {
  const rule = proxy.hold({ command: 'insert', direction: 'answer' }, { cutClient: false });
  const inserting = client.db('shop').collection<{ _id: number }>('items').insertOne({ _id: 1 });
  const held = await rule.held();
  assert.equal(await idsOf(), [1]);
  assert.is(held.message.body()['n'], 1);
  await held.deliver();
  assert.is((await inserting).insertedId, 1);
});

proxied('a half-open connection passes nothing and is not closed', async (client) => {
  const rule = proxy.halfOpen({ command: 'insert' });
  const own = client.db('shop').collection<{ _id: number }>('items');
  const stuck = outcome(own.insertOne({ _id: 1 }));
  await rule.hit();
  await own.insertOne({ _id: 2 });
  assert.equal(await idsOf(), [2]);
  const isStuck = await Promise.race([stuck.then(() => false), own.findOne().then(() => true)]);
  assert.ok(isStuck);
  await client.close();
  await stuck;
  assert.equal(await idsOf(), [2]);
});

proxied('a cut: the request gets there, the connection is gone', async (client) => {
  proxy.cut({ command: 'insert' });
  const own = client.db('shop').collection<{ _id: number }>('items');
  assert.match(String(await outcome(own.insertOne({ _id: 1 }))), /MongoNetworkError/);
  await eventually(10_000, async () => (await idsOf()).length === 1, 'the insert having arrived');
});

proxied('a delayed request waits, others do not', async (client) => {
  const rule = proxy.delay({ command: 'insert' }, 400);
  const own = client.db('shop').collection<{ _id: number }>('items');
  const slow = own.insertOne({ _id: 1 });
  await rule.hit();
  await own.insertOne({ _id: 2 });
  assert.equal(await idsOf(), [2]);
  await slow;
  assert.equal(await idsOf(), [1, 2]);
});

proxied('rules tell clients from each other by the names they present', async (client) => {
  const rule = proxy.drop({ command: 'insert', appName: 'victim' });
  const victim = await set.connect({ appName: 'victim', retryWrites: false });
  await client.db('shop').collection<{ _id: number }>('items').insertOne({ _id: 1 });
  const failed = await outcome(victim.db('shop').collection<{ _id: number }>('items').insertOne({ _id: 2 }));
  assert.match(String(failed), /MongoNetworkError/);
  assert.equal([await idsOf(), rule.hits[0]?.appName], [[1], 'victim']);
});

proxied('a server that vanishes and comes back: what was under way arrives late, or never', async (client) => {
  const own = client.db('shop').collection<{ _id: number }>('items');
  await own.insertOne({ _id: 1 });
  for (const deliver of [true, false]) {
    proxy.vanish();
    const inserting = outcome(own.insertOne({ _id: deliver ? 2 : 3 }));
    const stranger = new MongoClient(set.uri, { serverSelectionTimeoutMS: 300, connectTimeoutMS: 300 });
    assert.match(String(await outcome(stranger.connect())), /ServerSelection/);
    await stranger.close();
    proxy.comeBack({ deliver });
    const failure = await inserting;
    assert.is(failure === undefined, deliver, String(failure));
  }
  assert.equal(await idsOf(), [1, 2]);
});

proxied('connections that are cut are gone on both sides, and the client makes new ones', async (client) => {
  const own = client.db('shop').collection<{ _id: number }>('items');
  const seen = proxy.delay({ command: 'insert', times: 2 }, 0);
  await own.insertOne({ _id: 1 });
  const [before] = seen.hits;
  const sockets = async (): Promise<number> => {
    const idle = [{ $currentOp: { idleConnections: true } }, { $match: { appName: 'cut' } }];
    return (await past.db('admin').aggregate(idle).toArray()).length;
  };
  const other = new MongoClient(set.uri, { appName: 'cut', minPoolSize: 1 });
  await other.db('shop').command({ ping: 1 });
  assert.ok((await sockets()) > 0);
  proxy.vanish();
  proxy.cutAll();
  await eventually(10_000, async () => (await sockets()) === 0, 'no connections on the server');
  proxy.comeBack();
  await other.close();
  await eventually(10_000, async () => (await outcome(own.insertOne({ _id: 2 }))) === undefined, 'another insert');
  assert.ok((seen.hits.at(-1)?.connection ?? 0) > (before?.connection ?? 0));
});

test('a migration reaches its destination through the proxy alone, and ends equal though answers are lost', async () => {
  const migrate = async (): Promise<void> => {
    await using sourceSet = await ReplicaSet.start({ name: 'source' });
    const source = await sourceSet.connect();
    await resetClusters(source, past);
    await source
      .db('shop')
      .collection<{ _id: number }>('items')
      .insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }]);
    const rule = proxy.loseAnswer({ command: ['insert', 'update', 'delete'], db: 'shop', appName: 'mongoferry' });
    await using harness = await MigrationHarness.open({ source: sourceSet, destination: set });
    await harness.sync();
    await harness.commit();
    assert.is(rule.lost.length, 1);
    assert.equal(await compareClusters(source, past), []);
  };
  await within(2 * TEST_MS, migrate(), 'the migration');
});

test.run();
