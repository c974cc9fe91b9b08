import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Position } from '../../../src/bson/position.js';
import { deferred } from '../../../src/lib/tasks.js';
import type { CheckpointRecord } from '../../../src/metadata/records.js';
import { Checkpoints } from '../../../src/phases/checkpoints.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();

test('a slow store of an earlier position does not replace a later one', async () => {
  const stored: string[] = [];
  const slow = deferred<void>();
  const status = { safe: { position: Position.fromText('82A'), isBetween: false, eventsApplied: 1 } };
  const store = {
    saveCheckpoint: async ({ position }: CheckpointRecord) => {
      const text = position.toText();
      if (text === '82A') await slow.promise;
      stored.push(text);
    },
  };
  const context = {
    held: { store, lease: { held: true } },
    collections: { forgetDropped: async () => undefined },
    logger: silentLogger,
  };
  const checkpoints = new Checkpoints(context, { status });
  const periodic = checkpoints.store(signal);
  await turn();
  status.safe = { position: Position.fromText('82B'), isBetween: false, eventsApplied: 2 };
  const commits = checkpoints.store(signal);
  await turn();
  slow.resolve();
  await Promise.all([periodic, commits]);
  assert.is(stored.at(-1), '82B');
});

test.run();
