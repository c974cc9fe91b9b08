/** Makes certificates for servers and clients. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { runTool } from './run-tool.js';

/** Absolute paths of PEM files, all signed by a certificate authority made for one replica set. */
export interface TlsFiles {
  readonly caFile: string;
  /** Certificate and key of the servers, good for 127.0.0.1 and localhost. */
  readonly serverCertFile: string;
  /** Certificate and key for clients, as `tlsCertificateKeyFile` takes it. */
  readonly clientCertFile: string;
}

const DAYS = '30';
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/**
 * Makes a certificate authority and certificates for servers and clients, by the openssl program: Node reads
 * certificates but cannot make them. Valid for 30 days. Errors: ToolError if there is no openssl.
 */
export async function makeTlsFiles(folder: string, signal: AbortSignal | undefined): Promise<TlsFiles> {
  const caFile = await makeAuthority(folder, signal);
  // One after the other: both take their serial number from the same file.
  const serverCertFile = await certify(folder, { name: 'server', extension: SERVER_EXTENSION }, signal);
  const clientCertFile = await certify(folder, { name: 'client', extension: CLIENT_EXTENSION }, signal);
  return { caFile, serverCertFile, clientCertFile };
}

/** What makes a certificate one of a server at 127.0.0.1 and localhost. */
export const SERVER_EXTENSION = 'subjectAltName=IP:127.0.0.1,DNS:localhost';
/** What makes a certificate one of a client. */
export const CLIENT_EXTENSION = 'extendedKeyUsage=clientAuth';

/** Makes a certificate authority in a folder of its own and returns the path of its certificate. */
export async function makeAuthority(folder: string, signal: AbortSignal | undefined): Promise<string> {
  await mkdir(folder, { recursive: true });
  const caFile = path.join(folder, 'ca.pem');
  const config = path.join(folder, 'ca.cnf');
  await writeFile(
    config,
    '[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\n',
  );
  const files = ['-config', config, '-keyout', path.join(folder, 'ca.key'), '-out', caFile];
  await runTool('openssl', ['req', '-x509', ...KEY, ...files, '-days', DAYS, '-subj', '/CN=mongoferry test CA'], {
    signal,
  });
  return caFile;
}

/** A certificate to be made. */
export interface CertificateRequest {
  readonly name: string;
  /** Lines of an OpenSSL extension file. */
  readonly extension: string;
  /** For how long it is valid from now on; negative: it has expired. Default 30. */
  readonly days?: number;
}

/**
 * Makes a certificate, signed by the authority of the folder, and returns the path of the PEM with it and its key.
 * Not twice at once in a folder.
 */
export async function certify(
  folder: string,
  { name, extension, days }: CertificateRequest,
  signal: AbortSignal | undefined,
): Promise<string> {
  const file = (ending: string) => path.join(folder, `${name}.${ending}`);
  await writeFile(file('ext'), `${extension}\n`);
  // mongod takes a client whose O, OU and DC are the server's for a member of the cluster, so they differ.
  const request = ['-keyout', file('key'), '-out', file('csr'), '-subj', `/O=mongoferry ${name}/CN=127.0.0.1`];
  await runTool('openssl', ['req', '-new', ...KEY, '-config', path.join(folder, 'ca.cnf'), ...request], { signal });
  const ca = ['-CA', path.join(folder, 'ca.pem'), '-CAkey', path.join(folder, 'ca.key'), '-CAcreateserial'];
  const out = ['-extfile', file('ext'), '-out', file('crt'), '-days', String(days ?? DAYS)];
  await runTool('openssl', ['x509', '-req', '-in', file('csr'), ...ca, ...out], { signal });
  await writeFile(file('pem'), (await readFile(file('crt'), 'utf8')) + (await readFile(file('key'), 'utf8')), {
    mode: 0o600,
  });
  return file('pem');
}
