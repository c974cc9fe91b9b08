/** What a signal ends of the commands on a cluster, and of which cluster an outage is told. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listCollections } from '../../src/catalog/catalog.js';
import { clusterError, isMaybeSent } from '../../src/cluster/errors.js';
import type { WritableCluster } from '../../src/cluster/writable-cluster.js';
import { rawBatches } from '../../src/documents/raw-cursor.js';
import { FAIL_POINTS, holdCommands, refuseCommands, releaseCommands, touchedCommands } from '../support/fail-points.js';
import { sharedCluster, sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
/** For a command to be given up, and its cursor with it. */
const SOON_MS = 5000;
/** Until what is waited for is told: of a slow read after ten seconds. */
const TOLD_MS = 20_000;
const NOT_PRIMARY = 10_107;
const REASON = new Error('the caller has gone');

const { pair, source: client, destination: other } = await sharedPair(test, { setParameters: FAIL_POINTS });
const source = await sharedCluster(test, 'cluster0', pair.source);
const destination = await sharedCluster(test, 'cluster1', pair.destination);

test.after.each(async () => {
  await releaseCommands(client);
  await releaseCommands(other);
});

const READS: Readonly<Record<string, (signal: AbortSignal) => Promise<unknown>>> = {
  'a command': (signal) => source.read('asking', 'admin', { ping: 1 }, signal),
  'a listing': (signal) => listCollections(source, 'shop', signal),
  'a cursor': async (signal) => {
    for await (const _ of rawBatches(source, { db: 'shop', command: { find: 'items' } }, signal));
  },
};

for (const [what, read] of Object.entries(READS)) {
  test(`${what} that a server does not answer ends with its signal`, async () => {
    const caller = new AbortController();
    pair.source.pauseProcess();
    try {
      const reading = read(caller.signal).then(
        () => undefined,
        (error: unknown) => error,
      );
      await eventually(TOLD_MS, () => source.waitsFor.length > 0, 'the server being waited for');
      caller.abort(REASON);
      const error = await within(SOON_MS, reading, what);
      assert.is((error as Error).message, REASON.message);
    } finally {
      pair.source.continueProcess();
    }
  });
}

/** Inserts a document; resolves with the error, if there is one. */
async function insert(cluster: WritableCluster, id: string, signal: AbortSignal): Promise<unknown> {
  return cluster.write('shop', { insert: 'items', documents: [{ _id: id }] }, { signal }).then(
    () => undefined,
    (error: unknown) => error,
  );
}

test('a write that has been sent is waited for when its signal aborts, and no other is sent', async () => {
  const items = other.db('shop').collection<{ _id: string }>('items');
  const work = async () => {
    const caller = new AbortController();
    const before = await touchedCommands(other);
    await holdCommands(other, { commands: ['insert'], times: 1 }, 1500);
    const sent = insert(destination, 'sent', caller.signal);
    await eventually(SOON_MS, async () => (await touchedCommands(other)) > before, 'the insert being held');
    caller.abort(REASON);
    assert.is(await sent, undefined, 'it was answered');
    assert.is((await insert(destination, 'unsent', caller.signal)) as Error, REASON);
    assert.equal(await items.distinct('_id'), ['sent']);
  };
  await within(TEST_MS, work(), 'the writes');
});

test('of several commands that one reason ends each has an error of its own', async () => {
  const caller = new AbortController();
  const ping = (): Promise<unknown> => source.command('admin', { ping: 1 }, { signal: caller.signal });
  // Connections to send them on are there.
  await Promise.all([ping(), ping(), ping()]);
  pair.source.pauseProcess();
  try {
    const commands = [1, 2].map(() => ping().catch((error: unknown) => error));
    await eventually(TOLD_MS, () => source.waitsFor.length > 0, 'the server being waited for');
    caller.abort(REASON);
    const [first, second] = await within(SOON_MS, Promise.all(commands), 'the commands');
    assert.is.not(first, second);
    assert.ok(isMaybeSent(first));
    assert.not.ok(isMaybeSent(REASON), 'nothing is remembered of what ended them');
  } finally {
    pair.source.continueProcess();
  }
});

test('work on one cluster that waits for the other tells of an outage of that one', async () => {
  const work = async () => {
    const caller = new AbortController();
    await refuseCommands(other, { commands: ['find'] }, NOT_PRIMARY);
    const find = { find: 'items', filter: {} };
    const comparing = source
      .attempt('comparing shop.items', caller.signal, () =>
        destination.command('shop', find, { signal: caller.signal }),
      )
      .catch((error: unknown) => error);
    await eventually(20_000, () => destination.outage !== undefined, 'an outage of the destination');
    assert.match(destination.outage ?? '', /^comparing shop\.items: find of shop\.items on cluster1/);
    assert.is(source.outage, undefined);
    caller.abort(REASON);
    await comparing;
    assert.is(destination.outage, undefined, 'it is over');
    const error = await destination.command('shop', find, { signal: AbortSignal.timeout(SOON_MS) }).catch((e) => e);
    assert.match(clusterError(error, 'carrying out the call').message, 'call: find of shop.items on cluster1: ');
  };
  await within(TEST_MS, work(), 'the outage');
});

test.run();
