/** Reads the certificates and the token of a client command. */
import { isLoopback } from '../config/uri.js';
import { type FieldViolation, invalidRequest } from '../errors.js';
import { certificateKeyProblem, certificatesProblem, untimelyProblem } from '../lib/pem.js';
import { tokenProblem } from '../lib/token.js';
import type { Io } from './io.js';

/** What a command shows to the server, and what it asks of it. */
export interface ClientCredentials {
  /** Undefined: plain text. */
  readonly tls: ClientTls | undefined;
  readonly token: string | undefined;
}

/** PEM texts. */
export interface ClientTls {
  /** Authorities that the server's certificate must be of; undefined: the well-known ones. */
  readonly ca: string | undefined;
  /** The command's own certificate and key. */
  readonly certificateKey: string | undefined;
}

/**
 * Reads the flags `--tls`, `--tlsCAFile`, `--tlsCertificateKeyFile` and `--authTokenFile` with their files. A file for TLS
 * switches it on. A token is not sent to another machine in plain text unless `--allowInsecure`.
 * Errors: InvalidRequest with everything that is wrong; nothing of a file's content is shown.
 */
export function readClientCredentials(
  values: Readonly<Record<string, unknown>>,
  target: string,
  io: Io,
): ClientCredentials {
  const violations: FieldViolation[] = [];
  const read = (name: string, problemOf: (text: string) => string | undefined): string | undefined => {
    const path = values[name];
    if (typeof path !== 'string' || path === '') return undefined;
    const content = contentOf(path, io);
    const problem = 'problem' in content ? content.problem : problemOf(content.text);
    if (problem !== undefined) violations.push({ field: name, description: `${path} ${problem}` });
    return 'problem' in content ? undefined : content.text;
  };
  const ca = read('tlsCAFile', certificatesProblem);
  const certificateKey = read(
    'tlsCertificateKeyFile',
    (text) => certificateKeyProblem(text) ?? untimelyProblem(text, new Date()),
  );
  const token = read('authTokenFile', (text) => tokenProblem(text.trim()))?.trim();
  const isGiven = ['tlsCAFile', 'tlsCertificateKeyFile'].some((name) => isSet(values[name]));
  const hasTls = truthOf('tls', values, violations) ?? isGiven;
  const mayBeInsecure = truthOf('allowInsecure', values, violations) ?? false;
  if (isSet(values['authTokenFile']) && !hasTls && !mayBeInsecure && !isLoopback(hostOf(target))) {
    const description = `would be sent to ${target} in plain text; add tls (or allowInsecure if the network is trusted)`;
    violations.push({ field: 'authTokenFile', description });
  }
  if (violations.length > 0) throw invalidRequest(violations);
  return { tls: hasTls ? { ca, certificateKey } : undefined, token };
}

/** The host of `host:port`, `[host]:port` or `host`. */
export function hostOf(target: string): string {
  return /^\[([^\]]*)\]/.exec(target)?.[1] ?? target.replace(/:\d*$/, '');
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== '';
}

function truthOf(
  name: string,
  values: Readonly<Record<string, unknown>>,
  violations: FieldViolation[],
): boolean | undefined {
  const value = values[name];
  if (!isSet(value)) return undefined;
  const text = String(value).toLowerCase();
  if (text === 'true' || text === '1') return true;
  if (text !== 'false' && text !== '0') violations.push({ field: name, description: 'must be true or false' });
  return false;
}

function contentOf(path: string, io: Io): { readonly text: string } | { readonly problem: string } {
  try {
    return { text: io.readFile(path) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    return { problem: `cannot be read (${code})` };
  }
}
