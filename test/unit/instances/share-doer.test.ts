/** When a helper gives a share of the changes back. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ShareRoles, shareDoer } from '../../../src/instances/share-doer.js';
import type { TaskEvents } from '../../../src/instances/workshop.js';
import { deferred } from '../../../src/lib/tasks.js';
import { loadOf } from '../../../src/start/load-level.js';
import { answeringCluster, unasked } from '../../support/answering-cluster.js';
import { memoryCatalog } from '../../support/memory-catalog.js';
import { OPTIONS } from '../../support/observed-work.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();
const TURNS = 20;
const EVENTS: TaskEvents = { count: () => undefined, place: () => undefined, page: async () => undefined };

test('a share that fails is given back only once no write of it can take effect any more', async () => {
  const resolved = deferred<void>();
  const roles: ShareRoles = {
    source: await answeringCluster(unasked),
    destination: { now: undefined, saw: () => undefined, resolveLostWrites: () => resolved.promise },
    store: {
      ...memoryCatalog().store,
      loadCollections: () => Promise.reject(new Error('the destination does not answer')),
    },
  };
  const writerFor = () => Promise.reject(new Error('nothing is to be written'));
  const parts = { roles, load: loadOf(1), options: OPTIONS, writerFor, logger: silentLogger };
  const doer = shareDoer(parts, signal);
  let isBack = false;
  const doing = doer({ value: { catalog: '1' }, seen: {} }, EVENTS, signal).catch((error: unknown) => {
    isBack = true;
    return String(error);
  });
  for (let n = 0; n < TURNS; n++) await turn();
  assert.is(isBack, false);
  resolved.resolve();
  assert.is(await doing, 'Error: the destination does not answer');
});

test.run();
