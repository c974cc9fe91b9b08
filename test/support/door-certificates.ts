/** Makes certificates for the doors and their callers. */
import { readFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { CLIENT_EXTENSION, certify, makeAuthority, SERVER_EXTENSION } from './tls-files.js';

/** Paths of PEM files for the doors and their callers. All but the strangers' are of one authority. */
export interface DoorCertificates extends AsyncDisposable {
  readonly folder: string;
  readonly ca: string;
  readonly server: string;
  /** Another one of the same server, as after a renewal. */
  readonly renewedServer: string;
  readonly expiredServer: string;
  /** For a name that is not 127.0.0.1. */
  readonly otherNameServer: string;
  readonly client: string;
  readonly expiredClient: string;
  /** A certificate that says it is for servers only. */
  readonly serverOnly: string;
  readonly strangerCa: string;
  readonly strangerClient: string;
}

/** Makes them all, in a folder of the system's for temporary files. Errors: ToolError without openssl. */
export async function makeDoorCertificates(signal?: AbortSignal): Promise<DoorCertificates> {
  const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-doors-'));
  const stranger = path.join(folder, 'stranger');
  const ca = await makeAuthority(folder, signal);
  const strangerCa = await makeAuthority(stranger, signal);
  const make = (name: string, extension: string, days?: number) =>
    certify(folder, { name, extension, ...(days === undefined ? {} : { days }) }, signal);
  return {
    folder,
    ca,
    strangerCa,
    server: await make('server', SERVER_EXTENSION),
    renewedServer: await make('renewed', SERVER_EXTENSION),
    expiredServer: await make('expired-server', SERVER_EXTENSION, -1),
    otherNameServer: await make('other-name', 'subjectAltName=DNS:ferry.example'),
    client: await make('client', CLIENT_EXTENSION),
    expiredClient: await make('expired-client', CLIENT_EXTENSION, -1),
    serverOnly: await make('server-only', 'extendedKeyUsage=serverAuth'),
    strangerClient: await certify(stranger, { name: 'client', extension: CLIENT_EXTENSION }, signal),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A file's text. */
export function pem(file: string): string {
  return readFileSync(file, 'utf8');
}
