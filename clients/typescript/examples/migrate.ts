// A whole migration: starts it, follows its progress, commits as soon as that would succeed, and shows every error.
//
//   node dist/examples/migrate.js localhost:27183 [--source cluster0] [--destination cluster1]
//
// A server with TLS needs MONGOFERRY_TLS_CA_FILE, the PEM file of its authority, or MONGOFERRY_TLS=true for the well-known
// ones; MONGOFERRY_TLS_CERTIFICATE_KEY_FILE is the client's own certificate with its key, if the server wants one, and
// MONGOFERRY_AUTH_TOKEN_FILE the server's token.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type ChannelCredentials, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { readCallFailure } from '../src/call-failure.js';
import type { ProgressSnapshot } from '../src/gen/mongoferry/v1/progress.js';
import { StartRequest } from '../src/gen/mongoferry/v1/start_options.js';
import {
  CommitRequest,
  ProgressRequest,
  type ProgressResponse,
  SyncServiceClient,
} from '../src/gen/mongoferry/v1/sync_service.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    source: { type: 'string', default: 'cluster0' },
    destination: { type: 'string', default: 'cluster1' },
  },
});

const client = new SyncServiceClient(positionals[0] ?? 'localhost:27183', channelCredentials());
const metadata = tokenMetadata();
try {
  await start({ source: values.source, destination: values.destination });
  await followAndCommit();
} catch (error) {
  show(error as ServiceError);
  process.exitCode = 1;
} finally {
  client.close();
}

/** The content of the file that a variable names; null without one. */
function fileOf(variable: string): Buffer | null {
  const path = process.env[variable] ?? '';
  return path === '' ? null : readFileSync(path);
}

function channelCredentials(): ChannelCredentials {
  const authority = fileOf('MONGOFERRY_TLS_CA_FILE');
  const own = fileOf('MONGOFERRY_TLS_CERTIFICATE_KEY_FILE');
  const hasTls = authority !== null || own !== null || process.env['MONGOFERRY_TLS'] === 'true';
  return hasTls ? credentials.createSsl(authority, own, own) : credentials.createInsecure();
}

function tokenMetadata(): Metadata {
  const token = fileOf('MONGOFERRY_AUTH_TOKEN_FILE')?.toString('utf8').trim();
  const result = new Metadata();
  if (token !== undefined) result.set('authorization', `Bearer ${token}`);
  return result;
}

async function start(options: { source: string; destination: string }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    client.start(StartRequest.create(options), metadata, (error) => (error ? reject(error) : resolve()));
  });
  console.log('start: accepted');
}

/** Returns when the migration is committed. The stream ends then by itself, or with the failure of the migration. */
async function followAndCommit(): Promise<void> {
  const stream = client.progress(ProgressRequest.create({ interval: { seconds: 1, nanos: 0 } }), metadata);
  let isCommitCalled = false;
  for await (const message of stream as AsyncIterable<ProgressResponse>) {
    const { progress } = message;
    if (progress === undefined) continue;
    console.log(describe(progress));
    if (progress.canCommit && !isCommitCalled) isCommitCalled = await commit();
  }
  console.log('done: COMMITTED');
}

/** False when the moment has passed, as after a burst of writes: the next message may bring another. */
async function commit(): Promise<boolean> {
  try {
    await new Promise<void>((resolve, reject) => {
      client.commit(CommitRequest.create(), metadata, (error) => (error ? reject(error) : resolve()));
    });
    console.log('commit: accepted');
    return true;
  } catch (error) {
    if (readCallFailure(error as ServiceError).name !== 'InvalidStateTransition') throw error;
    show(error as ServiceError);
    return false;
  }
}

function describe({ state, info, collectionCopy, lagTimeSeconds }: ProgressSnapshot): string {
  const copied =
    collectionCopy &&
    `copied ${collectionCopy.estimatedCopiedBytes} of ${collectionCopy.estimatedTotalBytes ?? '?'} bytes`;
  const lag = lagTimeSeconds === undefined ? undefined : `lag ${lagTimeSeconds} s`;
  return `progress: ${[state, info, copied, lag].filter((part) => part !== undefined).join(', ')}`;
}

function show(error: ServiceError): void {
  const { name, code, description, metadata, violations } = readCallFailure(error);
  console.error(`${name ?? 'no answer'} (${code}): ${description}`);
  for (const violation of violations) console.error(`  ${violation.field}: ${violation.description}`);
  for (const [key, value] of Object.entries(metadata)) console.error(`  ${key} = ${value}`);
}
