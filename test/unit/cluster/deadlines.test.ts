import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Deadlines } from '../../../src/cluster/deadlines.js';
import { clusterError, TransientError } from '../../../src/cluster/errors.js';
import { within } from '../../support/within.js';

/** A client that tells of its set's primary. */
class FakeClient {
  #listener: (address: string) => void = () => undefined;

  onPrimary(listener: (address: string) => void): void {
    this.#listener = listener;
  }

  primaryIs(address: string): void {
    this.#listener(address);
  }
}

function deadlines(): [FakeClient, Deadlines] {
  const client = new FakeClient();
  return [client, new Deadlines(client)];
}

/** A command that nobody answers; resolves with the error it is given up with. */
function unanswered(subject: Deadlines, limits: { limitMs?: number; signal?: AbortSignal }): Promise<unknown> {
  return subject
    .within('ping', limits, async (signal) => {
      signal.throwIfAborted();
      await once(signal, 'abort');
      signal.throwIfAborted();
    })
    .catch((error: unknown) => error);
}

test('a command is given up when another server becomes primary, and not before', async () => {
  const [client, subject] = deadlines();
  client.primaryIs('a:1');
  const long = unanswered(subject, {});
  const short = unanswered(subject, { limitMs: 60_000 });
  let isOver = false;
  void long.then(() => {
    isOver = true;
  });
  client.primaryIs('a:1');
  await new Promise(setImmediate);
  assert.is(isOver, false, 'an election that the same server wins ends nothing');
  client.primaryIs('b:1');
  const [ofLong, ofShort] = await Promise.all([long, short]);
  for (const each of [ofLong, ofShort]) assert.match((each as Error).message, 'a:1 is no longer primary; b:1 is');
  assert.is.not(ofLong, ofShort, 'each has an error of its own');
  assert.is(await subject.within('ping', {}, async () => 'pong'), 'pong', 'the next one is sent');
});

test('a short command is given up after its time, and one of a caller that has gone at once', async () => {
  const [, subject] = deadlines();
  const late = await within(10_000, unanswered(subject, { limitMs: 20 }), 'the limit');
  assert.instance(late, TransientError);
  assert.is(clusterError(late, 'asking').code, 'ClusterUnreachable');
  const caller = new AbortController();
  const left = unanswered(subject, { signal: caller.signal });
  caller.abort(new Error('gone'));
  assert.is(((await left) as Error).message, 'gone');
  assert.is(
    ((await unanswered(subject, { signal: AbortSignal.abort(new Error('gone before')) })) as Error).message,
    'gone before',
  );
});

test.run();
