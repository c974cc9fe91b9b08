import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { atEnd } from '../../support/shared-servers.js';

test('what was given last is done first, once each, the rest also when one of them fails', async () => {
  const hooks: (() => Promise<void>)[] = [];
  const file = { after: (hook: () => Promise<void>) => void hooks.push(hook) };
  const done: string[] = [];
  for (const name of ['server', 'user of it']) {
    atEnd(file, async () => {
      done.push(name);
      if (name !== 'server') throw new Error(`${name} failed`);
    });
  }
  assert.is(hooks.length, 1);
  const error = await hooks[0]?.().catch((cause: unknown) => cause);
  assert.is(String(error), 'Error: user of it failed');
  assert.equal(done, ['user of it', 'server']);
});

test.run();
