import { BSON, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../src/bson/bson.js';
import { Position } from '../../src/bson/position.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { isTransient } from '../../src/cluster/errors.js';
import { endWrites } from '../../src/cluster/operations.js';
import { closeWriteSessions, writeSessions } from '../../src/cluster/write-sessions.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import type { AppError } from '../../src/errors.js';
import { StoredLease } from '../../src/metadata/lease-store.js';
import { checkedRecord } from '../../src/metadata/record-rules.js';
import { MetadataStore } from '../../src/metadata/store.js';
import { rolesOf } from '../../src/start/held-migration.js';
import { resolveStartOptions } from '../../src/start/options.js';
import { newRecord } from '../../src/start/starting.js';
import { FAIL_POINTS, holdCommands, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START } from '../support/migration-harness.js';
import { APPLYING } from '../support/observed-work.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { eventually, within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

const TEST_MS = 60_000;
const HELD_MS = 20_000;
const { signal } = new AbortController();

const set = await sharedSet(test, { setParameters: FAIL_POINTS });
const client = await set.connect();
/** As two processes have them. */
const earlier = await sharedCluster(test, 'cluster1', set);
const later = await sharedCluster(test, 'cluster1', set);

test.after.each(() => releaseCommands(client));

async function operationsOf({ clientTag }: Cluster, name: string): Promise<Doc[]> {
  const operations = await client
    .db('admin')
    .aggregate([{ $currentOp: { allUsers: true } }, { $match: { 'clientMetadata.platform': { $regex: clientTag } } }])
    .toArray();
  return operations.filter((each) => each['op'] === name || name in ((each['command'] ?? {}) as Doc));
}

/** Sends an insert that the server holds, and resolves once it does. */
async function insertHeld(coll: string): Promise<{ readonly answer: Promise<unknown> }> {
  await holdCommands(client, { commands: ['insert'], namespace: `t.${coll}` }, HELD_MS);
  const answer = earlier.write('t', { insert: coll, documents: [{ _id: 'late' }] }, { signal }).then(
    () => 'written',
    (error: unknown) => error,
  );
  await eventually(10_000, async () => (await operationsOf(earlier, 'insert')).length === 1, 'the insert being held');
  return { answer };
}

test('what the server still carries out of an earlier holder is ended before the next one writes', async () => {
  await within(
    TEST_MS,
    async () => {
      const { answer } = await insertHeld('ended');
      await endWrites(later, { clientTags: [earlier.clientTag], awaits: 'none' }, signal);
      assert.equal(await operationsOf(earlier, 'insert'), []);
      assert.ok(isTransient(await answer), 'the earlier one does not try again');
      assert.is(await client.db('t').collection('ended').countDocuments(), 0);
    },
    'ending the insert',
  );
});

test('who was to go on with a migration that has been reversed does not wait for the one that reversed it', async () => {
  const look = async () => {
    const db = 'reversed';
    // The one before lives on, with connections on which it may be changing the catalog.
    await earlier.write('t', { create: 'left' }, { signal });
    const holder = { owner: 'earlier', client: earlier.clientTag, sessions: [], user: '', begun: 1, ended: 0 };
    const left = { _id: 'lease', ...holder, term: 1, renewals: 0, pid: 0, expiresAt: new Date(0) };
    await client.db(db).collection<{ _id: string }>('lease').insertOne(left);
    const options = { ...resolveStartOptions(DEFAULT_START), buildIndexes: 'afterDataCopy' } as const;
    const time = new Timestamp({ t: 1, i: 1 });
    const commit = { step: 'handover', time, reverseStart: time, verified: true };
    const fields = { state: 'REVERSING', phase: 'done', starting: false, canWrite: true, commit, moved: true };
    const record = checkedRecord({ ...newRecord(options, earlier, later, []), ...fields }, (fault) => new Error(fault));
    await new MetadataStore(writableAlone(later), db).createMigration(record, signal);
    const roles = rolesOf(earlier, later, { db, logger: silentLogger, instance: 'test', goesOn: true });
    const error = await roles.lease.take(signal).catch((reason: unknown) => reason);
    assert.is((error as AppError).code, 'LeaseLost');
    assert.match((error as AppError).message, /has reversed the migration meanwhile/);
  };
  await within(TEST_MS, look(), 'the taking of the lease');
});

test('an index build of an earlier holder is not waited for', async () => {
  await within(
    TEST_MS,
    async () => {
      await client.db('t').collection('built').insertOne({ a: 1 });
      await client.db('admin').command({ configureFailPoint: 'hangAfterStartingIndexBuild', mode: 'alwaysOn' });
      const build = earlier.write(
        't',
        { createIndexes: 'built', indexes: [{ key: { a: 1 }, name: 'a_1' }] },
        { signal },
      );
      try {
        await eventually(10_000, async () => (await operationsOf(earlier, 'createIndexes')).length > 0, 'the build');
        await endWrites(later, { clientTags: [earlier.clientTag], awaits: 'none' }, signal);
        assert.ok((await operationsOf(earlier, 'createIndexes')).length > 0);
      } finally {
        await client.db('admin').command({ configureFailPoint: 'hangAfterStartingIndexBuild', mode: 'off' });
        await build;
      }
    },
    'the build',
  );
});

test('the connections of a process that is gone have ended with all that they brought', async () => {
  await within(
    TEST_MS,
    async () => {
      const dying = await Cluster.connect({ name: 'cluster1', uri: set.uri, logger: silentLogger, maxPoolSize: 4 });
      const idle = async (): Promise<number> => {
        const operations = await client
          .db('admin')
          .aggregate([
            { $currentOp: { allUsers: true, idleConnections: true } },
            { $match: { 'clientMetadata.platform': { $regex: dying.clientTag }, active: false } },
          ])
          .toArray();
        return operations.length;
      };
      assert.ok((await idle()) > 0);
      const ending = endWrites(later, { clientTags: [dying.clientTag], awaits: 'all' }, signal);
      await dying.close();
      await ending;
      assert.is(await idle(), 0);
    },
    'the connections ending',
  );
});

test('a server refuses what an earlier holder sends, or has sent, once its sessions are closed', async () => {
  await within(
    TEST_MS,
    async () => {
      const opened = await Cluster.connect({ name: 'cluster1', uri: set.uri, logger: silentLogger, maxPoolSize: 4 });
      const sessions = writeSessions(opened, 'numbers_of_first');
      // Whatever an earlier right of this process has lost is resolved before the next one writes.
      assert.is(writeSessions(opened, 'numbers_of_first'), sessions);
      const first = writableAlone(opened, { sessions });
      const ids = sessions?.ids ?? [];
      try {
        const raw = await RawWriter.create(first, 'probes', signal);
        const coll = client.db('t').collection<{ _id: number }>('closed');
        await coll.insertOne({ _id: 1 });
        await client.withSession(async (session) => {
          // The server tries the update again for as long as this transaction is open.
          session.startTransaction();
          await coll.updateOne({ _id: 1 }, { $set: { open: true } }, { session });
          const update = { update: 'closed', updates: [{ q: { _id: 1 }, u: { _id: 1, late: true } }] };
          const answer = first.write('t', update, { signal }).catch((reason) => reason);
          await eventually(10_000, async () => (await operationsOf(first, 'update')).length > 0, 'the update waiting');
          const closed = closeWriteSessions(later, ids, 'numbers_of_first');
          await endWrites(later, { clientTags: [first.clientTag], awaits: 'none' }, signal);
          await closed;
          assert.ok((await answer) instanceof Error, 'the update under way was not ended');
          await session.abortTransaction();
        });
        const statements = [Buffer.from(BSON.serialize({ _id: 2 }))];
        const write = { db: 't', coll: 'closed', kind: 'insert', statements, ordered: true, uuid: undefined } as const;
        const codes = await Promise.all(
          Array.from({ length: 20 }, () =>
            raw.write(write, signal).then(
              () => 'written',
              (reason) => reason.code,
            ),
          ),
        );
        assert.equal([...new Set(codes)], ['LeaseLost']);
        assert.equal(await coll.find().toArray(), [{ _id: 1 }]);
        // A taker that died before it could say so.
        await closeWriteSessions(later, ids, 'numbers_of_first');
      } finally {
        await first.close();
      }
    },
    'the closed sessions',
  );
});

test('what an earlier holder stores too late replaces and deletes nothing of the next one', async () => {
  await within(
    TEST_MS,
    async () => {
      const first = new MetadataStore(writableAlone(earlier, { term: 1 }), 'fenced');
      const second = new MetadataStore(writableAlone(later, { term: 2 }), 'fenced');
      await first.createMigration(APPLYING, signal);
      await first.saveCheckpoint({ position: Position.fromText('82A'), eventsApplied: 1 }, signal);
      await first.putDocuments('things', [{ _id: 'a', by: 'first' }], signal);
      await second.saveCheckpoint({ position: Position.fromText('82B'), eventsApplied: 2 }, signal);
      await second.updateMigration({ state: 'PAUSED' }, signal);
      await second.putDocuments('things', [{ _id: 'a', by: 'second' }], signal);
      const late = [
        first.saveCheckpoint({ position: Position.fromText('829'), eventsApplied: 0 }, signal),
        first.updateMigration({ state: 'RUNNING' }, signal),
        first.putDocuments('things', [{ _id: 'b' }, { _id: 'a', by: 'first' }], signal),
      ];
      const errors = await Promise.all(
        late.map((each) =>
          each.then(
            () => 'stored',
            (error: AppError) => error.code,
          ),
        ),
      );
      assert.equal(errors, ['LeaseLost', 'LeaseLost', 'LeaseLost']);
      await first.deleteDocuments('things', ['a'], signal);
      assert.is((await second.loadCheckpoint(signal))?.position.toText(), '82B');
      assert.is((await second.loadMigration(signal))?.state, 'PAUSED');
      assert.equal(await client.db('fenced').collection<{ _id: string }>('things').findOne({ _id: 'a' }), {
        _id: 'a',
        by: 'second',
        term: 2,
      });
    },
    'the late writes',
  );
});

test('two writes of one new record at the same time are no change of hands', async () => {
  const store = new MetadataStore(writableAlone(later, { term: 2 }), 'fenced');
  const writes = Array.from({ length: 40 }, () => store.putDocuments('things', [{ _id: 'same' }], signal));
  await within(TEST_MS, Promise.all(writes), 'the writes');
  const things = client.db('fenced').collection<{ _id: string }>('things');
  assert.is(await things.countDocuments({ _id: 'same' }), 1);
});

test('a write block that refuses the lease or the record is waited for, and is no change of hands', async () => {
  await within(
    TEST_MS,
    async () => {
      const store = new MetadataStore(later, 'fenced');
      await refuseCommands(client, { commands: ['update'], times: 1 }, 371);
      const lease = new StoredLease({
        source: later,
        destination: later,
        db: 'fenced',
        sessions: undefined,
        logger: silentLogger,
      });
      const error = await lease.changeLease({ _id: 'lease' }, { a: 1 }, { upsert: true }).catch((reason) => reason);
      assert.ok(isTransient(error), String(error));
      await refuseCommands(client, { commands: ['update'], times: 2 }, 371);
      await store.saveCheckpoint({ position: Position.fromText('82C'), eventsApplied: 3 }, signal);
      assert.is((await store.loadCheckpoint(signal))?.position.toText(), '82C');
    },
    'the refused writes',
  );
});

test('a write that a majority did not confirm is tried again, also when statements of it were refused', async () => {
  await within(
    TEST_MS,
    async () => {
      const raw = await RawWriter.create(later, 'probes', signal);
      const write = (ids: readonly number[]) =>
        raw.write(
          {
            db: 't',
            coll: 'confirmed',
            kind: 'insert',
            statements: ids.map((_id) => Buffer.from(BSON.serialize({ _id }))),
            ordered: false,
            uuid: undefined,
          },
          signal,
        );
      for (const ids of [[1], [1, 2]]) {
        const data = { failCommands: ['insert'], writeConcernError: { code: 64, errmsg: 'waiting timed out' } };
        await client.db('admin').command({ configureFailPoint: 'failCommand', mode: { times: 1 }, data });
        const error = await write(ids).then(
          (refused) => refused.length,
          (reason: unknown) => reason,
        );
        assert.ok(isTransient(error), `${ids}: ${String(error)}`);
      }
      assert.is((await write([1, 2])).length, 2);
    },
    'the writes',
  );
});

test.run();
