/** A cut of the simulator for every run of the tests: a fixed number of seeds, and that a seed replays exactly. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { simulate } from './simulation.js';

const SEEDS = 120;
/** What befalls the migrations of these differs much. */
const REPLAYED = [3, 45, 145];

test(`${SEEDS} simulated migrations end equal, or failed by a name that explains it`, async () => {
  const unexplained: string[] = [];
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { isExplained, verdict, details } = await simulate(seed);
    if (!isExplained) unexplained.push(`make sim SEED=${seed} COUNT=1: ${verdict}: ${details.join('; ')}`);
  }
  assert.equal(unexplained, []);
});

test('a seed replays exactly, in this process and in a new one', async () => {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  for (const seed of REPLAYED) {
    const steps = (await simulate(seed)).steps();
    assert.equal((await simulate(seed)).steps(), steps);
    const env = { ...process.env, SEED: String(seed), COUNT: '1' };
    const { stdout } = await promisify(execFile)(process.execPath, [main], { env, maxBuffer: 2 ** 26 });
    assert.equal(stdout.split('\n').slice(0, steps.length), steps);
  }
});

test.run();
