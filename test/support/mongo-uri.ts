/** Writes connection strings. */
import type { TlsFiles } from './tls-files.js';

/** A user of the database `admin`. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** What every connection to a set needs, beside its hosts. */
export interface Access {
  readonly credentials: Credentials | undefined;
  readonly tls: TlsFiles | undefined;
}

/** Connection string for the given hosts; user and password must need no escaping. */
export function mongoUri(hosts: readonly string[], options: Readonly<Record<string, string>>, access: Access): string {
  const { credentials, tls } = access;
  const query = new URLSearchParams(options);
  if (credentials) query.set('authSource', 'admin');
  if (tls) {
    query.set('tls', 'true');
    query.set('tlsCAFile', tls.caFile);
    query.set('tlsCertificateKeyFile', tls.clientCertFile);
  }
  const user = credentials ? `${credentials.username}:${credentials.password}@` : '';
  return `mongodb://${user}${hosts.join(',')}/?${query}`;
}
