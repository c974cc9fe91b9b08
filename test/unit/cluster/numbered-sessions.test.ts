import { Binary, type Document, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { requireCarriedOut } from '../../../src/cluster/errors.js';
import { closeSessions, NumberedSessions } from '../../../src/cluster/numbered-sessions.js';
import { AppError } from '../../../src/errors.js';

const HOST_UNREACHABLE = 6;
const SHUTDOWN = 91;
const DUPLICATE = 11000;
const TOO_OLD = 225;

const never = new AbortController().signal;
const client = {
  maxPoolSize: 1,
  seed: undefined,
  connect: async () => undefined,
  close: async () => undefined,
  command: () => Promise.reject(new Error('nothing is sent here')),
  startSession: (id = new Binary(Buffer.alloc(16, 1))) => ({ id, endSession: async () => undefined }),
  onSent: () => undefined,
  onPrimary: () => undefined,
};

/** One session, whose raised numbers are collected. */
function sessions(isRouted: boolean): { readonly one: NumberedSessions; readonly raised: number[] } {
  const raised: number[] = [];
  const store = async (_: unknown, __: Binary, number: { toNumber(): number }): Promise<void> => {
    raised.push(number.toNumber());
  };
  return { one: new NumberedSessions(client, { size: 1, store, isRouted }), raised };
}

function answering(...codes: readonly number[]): () => Promise<Document> {
  return async () => ({ ok: 1, writeErrors: codes.map((code, index) => ({ index, code, errmsg: 'no' })) });
}

function failing(code: number): () => Promise<Document> {
  return async () => Promise.reject(new MongoServerError({ message: 'no', code }));
}

/** The numbers that are raised before the next write of a session, when an earlier one was answered so. */
async function raisedAfter(isRouted: boolean, send: () => Promise<Document>): Promise<number[]> {
  const { one, raised } = sessions(isRouted);
  await one.send(1, never, send).catch((error: unknown) => {
    if (!(error instanceof MongoServerError)) throw error;
  });
  await one.send(1, never, async () => ({ ok: 1 }));
  return raised;
}

test('what a mongos answers where a shard may not have answered it counts as lost', async () => {
  assert.equal(await raisedAfter(true, failing(HOST_UNREACHABLE)), [2]);
  assert.equal(await raisedAfter(true, answering(DUPLICATE, SHUTDOWN)), [2]);
  assert.equal(await raisedAfter(true, answering(DUPLICATE)), [], 'a shard has refused it');
  assert.equal(await raisedAfter(true, failing(DUPLICATE)), []);
  assert.equal(await raisedAfter(false, failing(SHUTDOWN)), [], 'the server itself has answered');
  assert.equal(await raisedAfter(false, answering(SHUTDOWN)), []);
});

test('a server behind a mongos keeps a record of each statement: what a mongos sends again is not carried out twice', async () => {
  const fields = async (isRouted: boolean): Promise<Document> => {
    let sent: Document = {};
    await sessions(isRouted).one.send(2, never, async (numbered) => {
      sent = numbered.fields;
      return { ok: 1 };
    });
    return sent;
  };
  assert.not.ok('stmtIds' in (await fields(true)));
  assert.equal((await fields(false))['stmtIds'], [-1, -1]);
});

test('a session that another process has closed on one shard is lost, also where a mongos answers for the statements', async () => {
  const { one } = sessions(true);
  for (const send of [failing(TOO_OLD), answering(DUPLICATE, TOO_OLD)]) {
    const error = await one.send(2, never, send).catch((reason: unknown) => reason);
    assert.ok(error instanceof AppError);
    assert.is(error.code, 'LeaseLost');
  }
});

test('closing a session ends only once each shard has it closed', async () => {
  const id = new Binary(Buffer.alloc(16, 2));
  const close = (...codes: readonly number[]) =>
    closeSessions(client, [id], async () => requireCarriedOut(await answering(...codes)()));
  await close();
  await close(TOO_OLD);
  const error = await close(TOO_OLD, SHUTDOWN).catch((reason: unknown) => reason);
  assert.is((error as MongoServerError).code, SHUTDOWN);
});

test.run();
