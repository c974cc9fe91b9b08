/** Reads the certificates and the token that protect both doors, at the start and again on SIGHUP. */
import { constants } from 'node:crypto';
import { statSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { type FieldViolation, invalidRequest } from '../errors.js';
import { certificateKeyProblem, certificatesProblem, untimelyProblem, validityOf } from '../lib/pem.js';
import { tokenProblem } from '../lib/token.js';
import { hasToken, unauthenticated } from './auth.js';

/** The files that lock the doors, as the options name them. */
export interface CredentialFiles {
  /** PEM with the server's certificate, its chain and its key. Undefined: no TLS. */
  readonly tlsCertificateKeyFile: string | undefined;
  /** PEM with the authorities of client certificates, which are required then. */
  readonly tlsCaFile: string | undefined;
  readonly authTokenFile: string | undefined;
}

/** What the files hold. */
export interface DoorKeys {
  readonly certificateKey?: string | undefined;
  readonly clientCa?: string | undefined;
  readonly authToken?: string | undefined;
  /** What an operator should know, though it is no reason to refuse. */
  readonly warnings?: readonly string[];
}

/** What a call brings to be let in. */
export interface DoorCaller {
  /** The `authorization` header. */
  readonly authorization: string | undefined;
  /** Whether its connection has a client certificate that the authorities vouch for. */
  readonly hasCertificate: boolean;
}

/**
 * Who may come in at both doors, and the server's own certificate. What they are can be read again while the doors are
 * open: connections and streams that are there stay, whatever comes later meets the new ones. Source: docs/security.md.
 */
export class DoorCredentials {
  readonly #read: () => DoorKeys;
  #keys: DoorKeys;
  readonly #listeners = new Set<() => void>();

  /** Errors: those of `read`. */
  constructor(read: () => DoorKeys) {
    this.#read = read;
    this.#keys = read();
  }

  /** Of everything that was read last. */
  get warnings(): readonly string[] {
    return this.#keys.warnings ?? [];
  }

  /** Whether a token is needed, which no page in a browser has: nothing else proves that a request is no page's. */
  get requiresToken(): boolean {
    return this.#keys.authToken !== undefined;
  }

  get requiresClientCertificate(): boolean {
    return this.#keys.clientCa !== undefined;
  }

  /** Until when the server's certificate is good; undefined without TLS. */
  get validUntil(): Date | undefined {
    return this.#keys.certificateKey === undefined ? undefined : validityOf(this.#keys.certificateKey).to;
  }

  /**
   * What both doors' TLS is made with; undefined without TLS. Sessions are not resumed: a resumed one would not be
   * checked against new authorities and dates, and one without a certificate would pass for one with.
   */
  get secureContext(): SecureContextOptions | undefined {
    const { certificateKey, clientCa } = this.#keys;
    if (certificateKey === undefined) return undefined;
    return {
      cert: certificateKey,
      key: certificateKey,
      ...(clientCa === undefined ? {} : { ca: clientCa }),
      minVersion: 'TLSv1.2',
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    };
  }

  /** Whether a call may come in. Takes the same time for every wrong token. */
  admits({ authorization, hasCertificate }: DoorCaller): boolean {
    const isKnown = hasToken(this.#keys.authToken, authorization);
    return isKnown && (hasCertificate || !this.requiresClientCertificate);
  }

  /** Lets a call in. Errors: Unauthenticated, which says what is needed and never what was wrong. */
  admit(caller: DoorCaller): void {
    if (!this.admits(caller)) throw unauthenticated(this.requiresToken, this.requiresClientCertificate);
  }

  /** Reads everything again. Errors: those of `read`; everything stays as it was then. */
  reload(): void {
    this.#keys = this.#read();
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after every reload; returns the way to stop. */
  onReload(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}

/** Credentials that let everybody in, without TLS. */
export function openToAll(): DoorCredentials {
  return new DoorCredentials(() => ({}));
}

/** Reads a whole text file; throws when it cannot. */
type ReadFile = (path: string) => string;

/**
 * Reads and checks the files. With `isReload`, a certificate that is not valid now is an error: the one in use is better
 * then. At the start it is a warning, since the migration must go on even if no caller can be let in.
 * Errors: InvalidRequest with every problem, by option; nothing of a file's content is shown.
 */
export function readDoorKeys(files: CredentialFiles, readFile: ReadFile, isReload = false): DoorKeys {
  const violations: FieldViolation[] = [];
  const warnings: string[] = [];
  const read = (field: string, path: string | undefined, problemOf: (text: string) => string | undefined) => {
    if (path === undefined) return undefined;
    const content = contentOf(path, readFile);
    const problem = 'problem' in content ? content.problem : problemOf(content.text);
    if (problem !== undefined) violations.push({ field, description: `${path} ${problem}` });
    return 'problem' in content || problem !== undefined ? undefined : content.text;
  };
  const certificateKey = read('tlsCertificateKeyFile', files.tlsCertificateKeyFile, (text) => {
    const problem = certificateKeyProblem(text);
    if (problem !== undefined) return problem;
    const untimely = untimelyProblem(text, new Date());
    if (untimely !== undefined && !isReload) warnings.push(`${files.tlsCertificateKeyFile} ${untimely}`);
    return isReload ? untimely : undefined;
  });
  const clientCa = read('tlsCAFile', files.tlsCaFile, certificatesProblem);
  const authToken = read('authTokenFile', files.authTokenFile, (text) => tokenProblem(text.trim()))?.trim();
  if (violations.length > 0) throw invalidRequest(violations);
  warnings.push(...exposureWarnings([files.tlsCertificateKeyFile, files.authTokenFile]));
  return { certificateKey, clientCa, authToken, warnings };
}

function contentOf(path: string, readFile: ReadFile): { readonly text: string } | { readonly problem: string } {
  try {
    return { text: readFile(path) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    return { problem: `cannot be read (${code})` };
  }
}

/** Secrets that every user of the machine can read. */
function exposureWarnings(paths: readonly (string | undefined)[]): string[] {
  return paths.flatMap((path) => {
    const mode = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false })?.mode;
    if (path === undefined || mode === undefined || (mode & 0o004) === 0) return [];
    return [`${path} holds a secret, and every user of this machine can read it; restrict its permissions (chmod 600)`];
  });
}
