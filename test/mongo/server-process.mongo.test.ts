/** The driver tells, through its internals, which process of a server a command went to; see structural-commands.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mongoDriverClient, type SentCommand } from '../../src/cluster/driver.js';
import { ReplicaSet } from '../support/replica-set.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

test('of each command it is known to which process of the server it went, also after a restart', async () => {
  const run = async () => {
    await using set = await ReplicaSet.start();
    const client = mongoDriverClient(set.uri, { maxPoolSize: 2, tag: 'test', tellsSent: true, settings: {} });
    let sent: SentCommand | undefined;
    client.onSent((each) => {
      sent = each;
    });
    const processNow = async (): Promise<string> => {
      const { topologyVersion } = await client.command('admin', { hello: 1 });
      return String((topologyVersion as { processId: unknown }).processId);
    };
    await client.connect();
    try {
      const first = await processNow();
      assert.is(sent?.process, first);
      await set.kill();
      await set.restart();
      const second = await eventually(30_000, () => processNow().catch(() => undefined), 'an answer');
      assert.is.not(second, first);
      assert.is(sent?.process, second);
    } finally {
      await client.close();
    }
  };
  await within(TEST_MS, run(), 'the restart');
});

test.run();
