/** Which calls are begun, and what becomes of those whose caller goes away. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { SerialQueue } from '../../../src/lib/serial-queue.js';
import { deferred } from '../../../src/lib/tasks.js';
import { CallGate } from '../../../src/migration/call-gate.js';
import { StateMachine } from '../../../src/migration/machine.js';
import { within } from '../../support/within.js';

const WAIT_MS = 20_000;
const GONE = new AppError('Cancelled', 'the caller has gone');

interface Opened {
  readonly gate: CallGate;
  /** What the gate is told of an earlier call. */
  open: AppError | undefined;
}

function gateOf(clusters: readonly { readonly outage: string | undefined }[] = []): Opened {
  const machine = new StateMachine(() => undefined);
  machine.recover('IDLE');
  const { signal } = new AbortController();
  const opened: { gate: CallGate; open: AppError | undefined } = {
    open: undefined,
    gate: new CallGate({ machine, clusters, waits: [], failure: undefined, signal }, new SerialQueue(), {
      assertOutcomesKnown: () => {
        if (opened.open !== undefined) throw opened.open;
      },
    }),
  };
  return opened;
}

function outcome(call: Promise<unknown>): Promise<unknown> {
  return within(WAIT_MS, call, 'the call').catch((error: unknown) => (error instanceof AppError ? error.code : error));
}

test('a call that waits for its turn is not begun any more once its caller has gone', async () => {
  const { gate } = gateOf();
  const first = deferred<void>();
  const caller = new AbortController();
  let begun = 0;
  const before = gate.exclusive({ caller: undefined }, () => first.promise);
  const waiting = gate.exclusive({ caller: caller.signal }, async () => ++begun);
  const after = gate.exclusive({ caller: undefined }, async () => 'carried out');
  await turn();
  caller.abort(GONE);
  assert.is(await outcome(waiting), 'Cancelled', 'answered while the first one still runs');
  first.resolve();
  await before;
  assert.is(await outcome(after), 'carried out');
  assert.is(begun, 0);
});

test('a call that changes something goes on once it has begun, whether or not its caller has gone', async () => {
  const { gate } = gateOf();
  const caller = new AbortController();
  const work = deferred<string>();
  let signal: AbortSignal | undefined;
  const call = gate.exclusive({ caller: caller.signal }, (inner) => {
    signal = inner;
    return work.promise;
  });
  await turn();
  caller.abort(GONE);
  assert.is(signal?.aborted, false);
  work.resolve('done');
  assert.is(await outcome(call), 'done');
});

test('a call that only reads ends when its caller goes, with its reason', async () => {
  const { gate } = gateOf();
  const caller = new AbortController();
  const reading = gate.reading(
    () => true,
    { caller: caller.signal },
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  );
  await turn();
  caller.abort(GONE);
  assert.is(await outcome(reading), 'Cancelled');
});

test('a call that waits its turn is refused when the one before leaves open what became of it', async () => {
  const opened = gateOf();
  const first = deferred<void>();
  const before = opened.gate.exclusive({ caller: undefined }, () => first.promise);
  const waiting = opened.gate.exclusive({ caller: undefined }, async () => 'carried out');
  await turn();
  opened.open = new AppError('OutcomeUnknown', 'a pause goes on');
  first.resolve();
  await before;
  assert.is(await outcome(waiting), 'OutcomeUnknown');
});

test('an outage ends the calls that need that cluster, and no others', async () => {
  const [source, destination] = [{ outage: 'cluster0 does not answer' }, { outage: undefined }];
  const { gate } = gateOf([source, destination]);
  const hang = (signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const needsAll = gate.exclusive({ caller: undefined }, hang);
  const error = await within(
    WAIT_MS,
    needsAll.catch((reason: unknown) => reason),
    'the patience',
  );
  assert.match((error as AppError).message, 'cluster0 does not answer');
  const work = deferred<string>();
  const needsOne = gate.exclusive({ caller: undefined, clusters: () => [destination] }, (signal) =>
    Promise.race([work.promise, hang(signal)]),
  );
  setTimeout(() => work.resolve('stored'), 9500);
  assert.is(await outcome(needsOne), 'stored');
});

test.run();
