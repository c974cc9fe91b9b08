/** Calls both doors with and without certificates and tokens. */
import * as https from 'node:https';
import { ChannelCredentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { HealthClient } from '../../gen/grpc/health/v1/health.js';
import { ServerReflectionClient } from '../../gen/grpc/reflection/v1/reflection.js';
import { GetProgressRequest, SyncServiceClient } from '../../gen/mongoferry/v1/sync_service.js';
import { pem } from './door-certificates.js';

/** What a caller has in its hands. */
export interface Keys {
  /** The authority that it trusts. */
  readonly ca: string;
  /** File with its own certificate and key. */
  readonly certificate?: string | undefined;
  readonly token?: string | undefined;
  /** The whole `authorization` header, in place of the token's. */
  readonly authorization?: string | undefined;
}

function authorizationOf({ token, authorization }: Keys): string | undefined {
  return authorization ?? (token === undefined ? undefined : `Bearer ${token}`);
}

/** An answer of the HTTP door, or why there was none. */
export interface SecureAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** One request over HTTPS, on a connection of its own. Rejects when there is no answer. */
export function sendHttps(
  port: number,
  path: string,
  options: Keys & { readonly method?: string; readonly headers?: Readonly<Record<string, string>> },
): Promise<SecureAnswer> {
  const authorization = authorizationOf(options);
  const identity =
    options.certificate === undefined ? {} : { cert: pem(options.certificate), key: pem(options.certificate) };
  return new Promise((resolve, reject) => {
    const sent = https.request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: options.method ?? 'GET',
        headers: { ...options.headers, ...(authorization === undefined ? {} : { authorization }) },
        agent: false,
        // Otherwise it would be the Host header's.
        servername: 'localhost',
        ca: pem(options.ca),
        ...identity,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
        });
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}

/** Clients of all services of the gRPC door, over TLS. */
export class SecureClients implements Disposable {
  readonly sync: SyncServiceClient;
  readonly health: HealthClient;
  readonly reflection: ServerReflectionClient;

  constructor(port: number, keys: Keys) {
    const own = keys.certificate === undefined ? null : Buffer.from(pem(keys.certificate));
    const credentials = ChannelCredentials.createSsl(Buffer.from(pem(keys.ca)), own, own);
    // Channels of equal targets would share a connection, and with it the certificate.
    const options = { 'grpc.use_local_subchannel_pool': 1 };
    const target = `127.0.0.1:${port}`;
    this.sync = new SyncServiceClient(target, credentials, options);
    this.health = new HealthClient(target, credentials, options);
    this.reflection = new ServerReflectionClient(target, credentials, options);
  }

  /** The failure of `GetProgress` with these keys' token; undefined when it is answered. */
  getProgress(keys: Omit<Keys, 'ca'>): Promise<ServiceError | undefined> {
    return new Promise((resolve) => {
      this.sync.getProgress(GetProgressRequest.create(), tokenMetadata(keys), (error) => resolve(error ?? undefined));
    });
  }

  [Symbol.dispose](): void {
    for (const client of [this.sync, this.health, this.reflection]) client.close();
  }
}

/** The metadata with which a caller shows its token. */
export function tokenMetadata(keys: Omit<Keys, 'ca'>): Metadata {
  const metadata = new Metadata();
  const authorization = authorizationOf({ ca: '', ...keys });
  if (authorization !== undefined) metadata.set('authorization', authorization);
  return metadata;
}

/** How a stream ends: undefined when it ends well. */
export function endOf(stream: {
  on(event: 'data', listener: (message: unknown) => void): unknown;
  on(event: 'error', listener: (error: ServiceError) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
}): Promise<ServiceError | undefined> {
  return new Promise((resolve) => {
    stream.on('data', () => undefined);
    stream.on('error', resolve);
    stream.on('end', () => resolve(undefined));
  });
}
