/** What a call is told of its caller, who hangs up or whose deadline passes, at both doors. */
import { request } from 'node:http';
import { Metadata, status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CheckRequest } from '../../gen/mongoferry/v1/sync_service.js';
import { AppError } from '../../src/errors.js';
import { deferred } from '../../src/lib/tasks.js';
import { type Doors, openDoors } from '../support/api-doors.js';
import { FakeControl } from '../support/fake-control.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 20_000;

/** A migration whose check lasts until its caller goes, and tells why it ended. */
class WaitingControl extends FakeControl {
  readonly begun = deferred<void>();
  readonly ended = deferred<unknown>();

  override async check(_options: unknown, caller?: AbortSignal): Promise<never> {
    this.begun.resolve();
    return new Promise((_, reject) =>
      caller?.addEventListener('abort', () => {
        this.ended.resolve(caller.reason);
        reject(caller.reason);
      }),
    );
  }
}

/** Calls check and leaves once it has begun. */
const WAYS: Readonly<Record<string, (doors: Doors, control: WaitingControl) => Promise<void>>> = {
  'a deadline over gRPC': async ({ client }) => {
    const code = await new Promise((resolve) =>
      client.check(CheckRequest.create(), new Metadata(), { deadline: Date.now() + 500 }, (error) =>
        resolve(error?.code),
      ),
    );
    assert.is(code, status.DEADLINE_EXCEEDED);
  },
  'a cancelled call over gRPC': async ({ client }, control) => {
    const answered = new Promise((resolve) => {
      const call = client.check(CheckRequest.create(), (error) => resolve(error?.code));
      void control.begun.promise.then(() => call.cancel());
    });
    assert.is(await answered, status.CANCELLED);
  },
  'a connection that is closed over HTTP': async ({ httpPort }, control) => {
    const call = request({ host: '127.0.0.1', port: httpPort, path: '/api/v1/check', method: 'POST' });
    call.on('error', () => undefined);
    call.end('{}');
    await control.begun.promise;
    call.destroy();
  },
};

for (const [what, leave] of Object.entries(WAYS)) {
  test(`${what} ends a call that only reads, and is no fault of the server's`, async () => {
    const control = new WaitingControl();
    await using doors = await openDoors(control);
    await within(WAIT_MS, leave(doors, control), what);
    const reason = await within(WAIT_MS, control.ended.promise, 'the end of the call');
    assert.is(AppError.from(reason).code, 'Cancelled');
    await eventually(WAIT_MS, () => doors.log.some(({ message }) => message === 'sent response'), 'the audit');
    assert.not.ok(doors.log.some(({ level }) => level === 'ERROR'));
  });
}

test('the server that stops ends a call that only reads with ShuttingDown', async () => {
  const control = new WaitingControl();
  await using doors = await openDoors(control);
  const answer = doors.http({ method: 'POST', path: '/api/v1/check', body: '{}' });
  await control.begun.promise;
  await Promise.all([doors.stopHttp(), doors.stopGrpc(1000)]);
  assert.is((await within(WAIT_MS, answer, 'the answer')).json['error'], 'ShuttingDown');
});

test.run();
