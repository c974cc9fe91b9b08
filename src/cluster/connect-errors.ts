/** Explains why a connection could not be made, and decides whether waiting can help. */
import zlib from 'node:zlib';
import {
  MongoCompatibilityError,
  MongoInvalidArgumentError,
  MongoMissingCredentialsError,
  MongoMissingDependencyError,
  MongoParseError,
  MongoServerSelectionError,
} from 'mongodb';
import { AppError, invalidRequest } from '../errors.js';
import { Code, clusterError, codeOf, safeText } from './errors.js';

/** The driver does not go by what the connection string says, however often it is asked. */
const REFUSALS = [
  MongoParseError,
  MongoInvalidArgumentError,
  MongoMissingCredentialsError,
  MongoMissingDependencyError,
  MongoCompatibilityError,
] as const;

/** Node's codes for files that cannot be read: of a certificate or a key. */
const FILE_CODES = new Set(['ENOENT', 'EACCES', 'EISDIR', 'EPERM', 'ENOTDIR']);

/** OpenSSL's and Node's codes for a certificate that one side does not take, or for a file that holds none. */
const CERTIFICATE_CODE =
  /^(?:ERR_OSSL_|ERR_TLS_|ERR_SSL_(?:SSL|TLS)V\d+_ALERT_|ERR_CRYPTO_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_(?:CA|PURPOSE))/;

/**
 * Why there is no connection. MissingPrivilege when the credentials were refused; InvalidRequest for what cannot pass
 * while the connection string is what it is: files that are missing, certificates that are not taken, another replica
 * set's name, and what the driver refuses. As a rule ClusterUnreachable.
 */
export function connectError(name: string, cause: unknown): AppError {
  if (codeOf(cause) === Code.AuthenticationFailed)
    return new AppError('MissingPrivilege', `${name} refused the credentials of its connection string`, { cause });
  const lasting = lastingReason(cause);
  if (lasting !== undefined) return invalidRequest([{ field: name, description: lasting }]);
  // Names that do not resolve are no errors of a server's; they may the next time.
  return codeOf(cause) === undefined && !(cause instanceof AppError)
    ? new AppError('ClusterUnreachable', `connecting: ${name}: ${safeText(cause)}`, { cause })
    : clusterError(cause, `connecting: ${name}`, 'ClusterUnreachable');
}

/** Whether connecting that was refused with this error may succeed later. */
export function mayConnectLater(error: unknown): boolean {
  return error instanceof AppError && error.code === 'ClusterUnreachable';
}

function lastingReason(error: unknown): string | undefined {
  if (error instanceof MongoServerSelectionError) return lastingReasonOfAll(error);
  if (REFUSALS.some((refusal) => error instanceof refusal))
    return `the driver refuses the connection string: ${safeText(error)}`;
  for (const each of chain(error)) {
    const { code, syscall, path } = each as { code?: unknown; syscall?: unknown; path?: unknown };
    if (typeof code !== 'string') continue;
    if (FILE_CODES.has(code) && (syscall === 'open' || syscall === 'read'))
      return `the file ${String(path)} of its connection string cannot be read: ${code}`;
    if (CERTIFICATE_CODE.test(code)) return `TLS fails, and waiting will not help: ${each.message} (${code})`;
  }
  return undefined;
}

/** Only what all of the servers have in common: of several one may be right. */
function lastingReasonOfAll({ reason }: MongoServerSelectionError): string | undefined {
  if (reason === undefined) return undefined;
  const servers = [...reason.servers.values()];
  // The driver forgets servers that say they belong to another set, or to none.
  if (servers.length === 0 && reason.setName != null)
    return `none of its hosts belongs to the replica set ${reason.setName} that its option replicaSet names`;
  const reasons = servers.map(({ error }) => (error == null ? undefined : lastingReason(error)));
  return reasons.every((each) => each !== undefined) ? reasons[0] : undefined;
}

function* chain(error: unknown): Generator<Error> {
  let depth = 0;
  for (let each = error; each instanceof Error && depth < 10; each = each.cause) {
    depth++;
    yield each;
  }
}

/** What the driver can do without a module that is not part of this program. */
function hasCompressor(name: string): boolean {
  if (name === 'zstd') return 'zstdCompress' in zlib;
  return name !== 'snappy';
}

/**
 * A connection string without the compressors that this program cannot do, and their names: compression is an offer,
 * which a server or client may always leave out.
 */
export function leaveOutCompressors(uri: string): { readonly uri: string; readonly leftOut: readonly string[] } {
  const leftOut: string[] = [];
  const kept = uri.replace(/([?&;])compressors=([^&;]*)/gi, (_, before: string, value: string) => {
    const names = decodeURIComponent(value).split(',');
    const known = names.filter((name) => hasCompressor(name.trim()));
    leftOut.push(...names.filter((name) => !known.includes(name)));
    return `${before}compressors=${known.length === 0 ? 'none' : known.join(',')}`;
  });
  return { uri: leftOut.length === 0 ? uri : kept, leftOut };
}
