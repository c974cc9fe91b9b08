import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TransientError } from '../../../src/cluster/errors.js';
import { AppError, type ErrorName, ExitCode } from '../../../src/errors.js';
import { type InterruptedClusters, Interruption } from '../../../src/migration/interruption.js';
import { silentLogger } from '../../support/silent-logger.js';
import { within } from '../../support/within.js';

const { signal } = new AbortController();

function clusterOf(version: string, retryLimitMs: number): InterruptedClusters['destination'] {
  return {
    retryLimitMs,
    label: 'cluster1: host:27017',
    facts: { version: [6, 0, 5] },
    isSharded: false,
    isAtLeast: () => true,
    read: async () => ({ featureCompatibilityVersion: { version } }),
  };
}

let events = 0;

function interruptionOf(retryLimitMs: number, fcv = '6.0'): { interruption: Interruption; told: string[] } {
  const told: string[] = [];
  const destination = clusterOf(fcv, retryLimitMs);
  const interruption: Interruption = new Interruption(
    { destination, source: clusterOf('6.0', retryLimitMs) },
    silentLogger,
    {
      reached: () => ({ stage: 'apply', events, bytes: 0 }),
      onChange: () => told.push(interruption.text ?? ''),
    },
  );
  return { interruption, told };
}

test('what may pass has the work begin again, with a warning that names it and goes when the work is done', async () => {
  const { interruption, told } = interruptionOf(60_000);
  let tries = 0;
  const work = async () => {
    if (++tries < 3) throw new AppError('CommandRefused', `insert of a.b on cluster1: no (code ${tries})`);
  };
  await within(20_000, interruption.outlast(work, signal), 'the work');
  assert.is(tries, 3);
  assert.match(told[0] ?? '', /continues where it was.*insert of a\.b.*code 1/);
  assert.is(told.at(-1), '');
});

test('what does not pass ends the process with 1, under a name that is not stored, and names the cause', async () => {
  for (const code of ['CommandRefused', 'MissingPrivilege'] as const) {
    const { interruption } = interruptionOf(0);
    const work = async () => {
      throw new AppError(code, 'insert of a.b on cluster1: no (code 4711)');
    };
    const error = await within(
      20_000,
      interruption.outlast(work, signal).then(() => undefined, AppError.from),
      code,
    );
    assert.equal([error?.code, error?.row.exit], ['CommandRefused', ExitCode.retryable]);
    assert.match(error?.message ?? '', /insert of a\.b.*code 4711.*0 minutes/);
  }
});

test('an error that is no named one yet has the work begin again, too', async () => {
  const { interruption, told } = interruptionOf(60_000);
  let tries = 0;
  const work = async () => {
    if (++tries < 2) throw new TransientError('the lease could not be renewed in time');
  };
  await within(20_000, interruption.outlast(work, signal), 'the work');
  assert.is(tries, 2);
  assert.match(told[0] ?? '', 'migrating: the lease could not be renewed in time');
});

test('work that comes further each time is never given up', async () => {
  const { interruption } = interruptionOf(2500);
  let tries = 0;
  const work = async () => {
    events++;
    if (++tries < 5) throw new AppError('CommandRefused', 'no (code 4711)');
  };
  await within(30_000, interruption.outlast(work, signal), 'the work');
  assert.is(tries, 5);
});

test('a lowered featureCompatibilityVersion is named instead of what came of it', async () => {
  const { interruption } = interruptionOf(0, '5.0');
  const work = async () => {
    throw new AppError('CommandRefused', 'invalid option (code 72)');
  };
  const error = await within(
    20_000,
    interruption.outlast(work, signal).then(() => undefined, AppError.from),
    'the end',
  );
  assert.match(error?.message ?? '', /featureCompatibilityVersion of cluster1: host:27017 is 5\.0.*back to 6\.0/);
});

test('dead ends and bugs end the work at once', async () => {
  for (const name of ['VerificationFailed', 'LeaseLost', 'Internal', 'TimeSeriesCollection'] satisfies ErrorName[]) {
    const { interruption } = interruptionOf(60_000);
    let tries = 0;
    const work = async () => {
      tries++;
      throw new AppError(name, 'text');
    };
    const error = await within(
      20_000,
      interruption.outlast(work, signal).then(() => undefined, AppError.from),
      name,
    );
    assert.equal([error?.code, tries], [name, 1]);
  }
});

test.run();
