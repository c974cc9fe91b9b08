/** When a helper gives a share of the changes back. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ShareDoerParts, shareDoer } from '../../../src/instances/share-doer.js';
import type { TaskEvents } from '../../../src/instances/workshop.js';
import { deferred } from '../../../src/lib/tasks.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();
const TURNS = 20;

test('a share that fails is given back only once no write of it can take effect any more', async () => {
  const resolved = deferred<void>();
  const roles = {
    source: {},
    destination: { resolveLostWrites: () => resolved.promise },
    store: { loadCollections: () => Promise.reject(new Error('the destination does not answer')) },
  };
  const parts = {
    roles,
    options: { documentFilter: null, includeNamespaces: [], excludeNamespaces: [], namespaceRemap: [] },
  };
  const doer = shareDoer({ ...parts, logger: silentLogger } as unknown as ShareDoerParts, signal);
  let isBack = false;
  const doing = doer({ value: { catalog: '1' }, seen: {} }, {} as TaskEvents, signal).catch((error: unknown) => {
    isBack = true;
    return String(error);
  });
  for (let n = 0; n < TURNS; n++) await turn();
  assert.is(isBack, false);
  resolved.resolve();
  assert.is(await doing, 'Error: the destination does not answer');
});

test.run();
