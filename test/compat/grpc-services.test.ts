import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { ChannelCredentials, status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type HealthCheckResponse,
  HealthClient,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../gen/grpc/health/v1/health.js';
import {
  ServerReflectionClient,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from '../../gen/grpc/reflection/v1/reflection.js';
import { openDoors } from '../support/api-doors.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 20_000;

type Question = NonNullable<ServerReflectionRequest['messageRequest']>;
type Answer = ServerReflectionResponse['messageResponse'];

function ask(port: number, question: Question): Promise<Answer> {
  const client = new ServerReflectionClient(`127.0.0.1:${port}`, ChannelCredentials.createInsecure());
  const call = client.serverReflectionInfo();
  const answer = new Promise<Answer>((resolve, reject) => {
    call.on('data', (response: ServerReflectionResponse) => resolve(response.messageResponse));
    call.on('error', reject);
  });
  call.write({ host: '', messageRequest: question });
  call.end();
  return within(WAIT_MS, answer, 'reflection').finally(() => client.close());
}

test("reflection lists the services and gives a symbol's file with all it imports, options and comments included", async () => {
  await using doors = await openDoors();
  const list = await ask(doors.grpcPort, { $case: 'listServices', value: '' });
  assert.is(list?.$case, 'listServicesResponse');
  const names = list?.$case === 'listServicesResponse' ? list.value.service.map(({ name }) => name) : [];
  assert.equal(names.sort(), [
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'mongoferry.v1.SyncService',
  ]);
  for (const symbol of ['mongoferry.v1.SyncService', 'mongoferry.v1.SyncService.Start', 'mongoferry.v1.StartRequest']) {
    const answer = await ask(doors.grpcPort, { $case: 'fileContainingSymbol', value: symbol });
    assert.is(answer?.$case, 'fileDescriptorResponse', symbol);
  }
  const answer = await ask(doors.grpcPort, { $case: 'fileContainingSymbol', value: 'mongoferry.v1.SyncService' });
  const files =
    answer?.$case === 'fileDescriptorResponse'
      ? answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
      : [];
  assert.is(files[0]?.name, 'mongoferry/v1/sync_service.proto');
  assert.ok(files.some(({ name }) => name === 'google/protobuf/struct.proto'));
  assert.ok(
    files[0]?.sourceCodeInfo?.location.some(({ leadingComments }) => leadingComments.includes('Begins a migration')),
  );
  const extension = await ask(doors.grpcPort, {
    $case: 'fileContainingExtension',
    value: { containingType: 'google.protobuf.MethodOptions', extensionNumber: 72295728 },
  });
  assert.is(extension?.$case, 'fileDescriptorResponse');
  const unknown = await ask(doors.grpcPort, { $case: 'fileContainingSymbol', value: 'no.Such' });
  assert.is(unknown?.$case, 'errorResponse');
});

test('health is SERVING while the migration is ready, for the server and the service', async () => {
  await using doors = await openDoors();
  const client = new HealthClient(`127.0.0.1:${doors.grpcPort}`, ChannelCredentials.createInsecure());
  const check = (service: string): Promise<Serving | number> =>
    new Promise((resolve) =>
      client.check({ service }, (error, response) => resolve(error === null ? response.status : -error.code)),
    );
  assert.is(await check(''), Serving.SERVING);
  assert.is(await check('mongoferry.v1.SyncService'), Serving.SERVING);
  assert.is(await check('other'), -status.NOT_FOUND);
  doors.control.ready = false;
  assert.is(await check(''), Serving.NOT_SERVING);
  client.close();
});

test('a watched health follows the changes, and the watcher leaves nothing behind', async () => {
  await using doors = await openDoors();
  const client = new HealthClient(`127.0.0.1:${doors.grpcPort}`, ChannelCredentials.createInsecure());
  const seen: Serving[] = [];
  const call = client.watch({ service: '' });
  call.on('data', ({ status: now }: HealthCheckResponse) => seen.push(now));
  call.on('error', () => undefined);
  await eventually(WAIT_MS, () => seen.length === 1, 'the first status');
  doors.control.ready = false;
  doors.control.set({});
  await eventually(WAIT_MS, () => seen.length === 2, 'the change');
  assert.equal(seen, [Serving.SERVING, Serving.NOT_SERVING]);
  call.cancel();
  await eventually(WAIT_MS, () => doors.control.listeners === 0, 'no listener');
  client.close();
});

test.run();
