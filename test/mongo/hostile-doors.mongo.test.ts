import { Client, credentials } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendHttp } from '../support/api-doors.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { startPair } from '../support/replica-set.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 240_000;
const WAIT_MS = 60_000;
const ROUNDS = 6;
const VALUES = Array.from({ length: 9000 }, () => '{"$oid":"0"}').join();

/** The shapes that cost the most for their size, and the sizes that are the most to read. */
const BODIES: readonly string[] = [
  `{"source":"cluster0","destination":"cluster1","documentFilter":{"field":"a","matchValues":[${VALUES}]}}`,
  `{"includeNamespaces":[${'1,'.repeat(90_000)}1]}`,
  `{${Array.from({ length: 50_000 }, (_, i) => `"f${i}":1`).join()}}`,
  `{"${'a.'.repeat(40_000)}":1}`,
  `{"source":"${'mongodb://'.repeat(1_600_000)}"}`,
];

test('a flood of costly requests neither delays the lease nor a stop', async () => {
  await within(
    TEST_MS,
    async (signal) => {
      await using pair = await startPair({ signal });
      await using ferry = await FerryProcess.between(pair, { signal });
      await using client = new FerryClient(ferry.grpcTarget);
      await eventually(WAIT_MS, async () => (await client.progress()).state === 'IDLE', 'IDLE');
      await client.start();
      const destination = await pair.destination.connect();
      const lease = () => destination.db('mongosync_reserved_for_internal_use').collection('lease').findOne();
      const before = Number((await lease())?.['renewals']);
      const port = Number(new URL(ferry.httpUrl).port);
      const grpc = new Client(ferry.grpcTarget, credentials.createInsecure());
      const same = (bytes: Buffer): Buffer => bytes;
      const emptyEntries = Buffer.alloc(16_000_000, Buffer.from([(6 << 3) | 2, 0]));
      const flood = async (): Promise<void> => {
        for (let round = 0; round < ROUNDS; round++) {
          const http = BODIES.map((body) => sendHttp(port, { method: 'POST', path: '/api/v1/start', body }));
          const call = new Promise<number>((resolve) => {
            const path = '/mongoferry.v1.SyncService/Start';
            grpc.makeUnaryRequest(path, same, same, emptyEntries, (error) => resolve(error?.code ?? 0));
          });
          for (const { status } of await Promise.all(http)) assert.is(status, 400);
          assert.is(await call, 3);
        }
      };
      try {
        await within(WAIT_MS * 3, Promise.all([flood(), flood(), flood()]), 'the flood');
      } finally {
        grpc.close();
      }
      await eventually(WAIT_MS, async () => Number((await lease())?.['renewals']) > before, 'a renewal');
      assert.is((await client.progress()).state, 'RUNNING');
      assert.equal(ferry.linesWith('lease could not be renewed'), []);
      const metrics = (await sendHttp(port, { path: '/metrics' })).text;
      const delayMs = Number(/^mongoferry_event_loop_delay\S* (\S+)/m.exec(metrics)?.[1]);
      // A lease lasts 30 s and is renewed every 4 s.
      assert.ok(delayMs < 10_000, `the event loop was held up for ${delayMs} ms`);
      assert.is(await ferry.stop(), 0);
    },
    'the test',
  );
});

test.run();
