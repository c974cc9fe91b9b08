import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FerryProcess } from '../support/ferry-process.js';
import { RestClient } from '../support/rest-client.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 150_000;
const STOP_MS = 10_000;
const START = '{"source":"cluster0","destination":"cluster1"}';

const { pair, source } = await sharedPair(test);

/** Ends the process by SIGTERM; resolves with how it ended and how long that took. */
async function stopped(ferry: FerryProcess): Promise<{ readonly code: number | null; readonly ms: number }> {
  const began = performance.now();
  return { code: await ferry.stop(), ms: performance.now() - began };
}

/** Calls, waits until the call hangs, and ends the process. */
async function stopDuring(ferry: FerryProcess, call: string, body: string): Promise<void> {
  const rest = new RestClient(() => ferry.httpUrl);
  pair.destination.pauseProcess();
  try {
    const calling = rest.post(call, body).catch(() => undefined);
    await eventually(
      20_000,
      async () => JSON.stringify(await rest.progress()).includes('cluster1 has not answered'),
      'a warning that names what is waited for',
    );
    const { code, ms } = await stopped(ferry);
    assert.is(code, 0, `${call}: ${ferry.log.slice(-5).map((line) => line.message)}`);
    assert.ok(ms < STOP_MS, `${call}: the stop took ${Math.round(ms)} ms`);
    await calling;
  } finally {
    pair.destination.continueProcess();
  }
}

test('a call whose command hangs holds up the end of the process for less than ten seconds', async () => {
  const work = async () => {
    await source.db('shop').collection('orders').insertOne({ a: 1 });
    await using ferry = await FerryProcess.between(pair);
    const rest = new RestClient(() => ferry.httpUrl);
    await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
    await stopDuring(ferry, 'start', START);
    await ferry.restart();
    await rest.waitFor('IDLE or RUNNING', ({ state }) => state === 'IDLE' || state === 'RUNNING', 60_000);
    await rest.post('start', START);
    for (const call of ['pause', 'commit']) {
      await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, 60_000);
      await stopDuring(ferry, call, '{ }');
      await ferry.restart();
      const { state } = await rest.waitFor('its state', (progress) => progress.state !== 'INITIALIZING', 60_000);
      if (state === 'PAUSED') await rest.post('resume');
    }
  };
  await within(TEST_MS, work(), 'the stops');
});

test.run();
