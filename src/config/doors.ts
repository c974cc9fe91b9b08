/** Checks the options of both doors, and refuses to open them to a network unprotected. */
import type { FlagName } from './flags.js';
import { isBadAddress, isLoopback } from './uri.js';

/** Who may come in at the doors, and how they are addressed. */
export interface DoorOptions {
  readonly bindIp: string;
  /** Undefined: no TLS. */
  readonly tlsCertificateKeyFile: string | undefined;
  /** Undefined: no client certificates. Never without the other file. */
  readonly tlsCaFile: string | undefined;
  /** Undefined: no token. */
  readonly authTokenFile: string | undefined;
  /** Names with or without a port, in lower case. */
  readonly allowedHosts: readonly string[];
}

/** What is read from, and where complaints go; the reader of all options. */
export interface OptionReader {
  text(name: FlagName, pattern?: RegExp, rule?: string): string | undefined;
  list(name: FlagName): readonly string[];
  boolean(name: FlagName): boolean;
  refuse(name: FlagName, description: string): void;
  warn(message: string): void;
}

/** Reads the options of the doors, and judges whether they may be opened so. Source: docs/security.md. */
export function readDoorOptions(reader: OptionReader): DoorOptions {
  const bindIp = reader.text('bindIp') ?? '127.0.0.1';
  const doors = { bindIp, ...readTls(reader), authTokenFile: reader.text('authTokenFile') };
  checkBinding(reader, doors);
  return { ...doors, allowedHosts: readAllowedHosts(reader) };
}

type TlsFiles = Pick<DoorOptions, 'tlsCertificateKeyFile' | 'tlsCaFile'>;

/** mongod's words, and the shorter ones; never TLS and plain text at one port, as mongod's other modes have it. */
const TLS_MODES: ReadonlyMap<string, 'off' | 'required'> = new Map([
  ['disabled', 'off'],
  ['off', 'off'],
  ['requiretls', 'required'],
  ['required', 'required'],
]);

function readTls(reader: OptionReader): TlsFiles {
  const given = reader.text('tlsMode');
  const tlsCertificateKeyFile = reader.text('tlsCertificateKeyFile');
  const tlsCaFile = reader.text('tlsCAFile');
  const mode = given === undefined ? undefined : TLS_MODES.get(given.toLowerCase());
  if (given !== undefined && mode === undefined) reader.refuse('tlsMode', 'must be "disabled" or "requireTLS"');
  if (mode === 'off') {
    if (tlsCertificateKeyFile !== undefined || tlsCaFile !== undefined)
      reader.warn('tlsMode is "disabled": the files of tlsCertificateKeyFile and tlsCAFile are not used');
    return { tlsCertificateKeyFile: undefined, tlsCaFile: undefined };
  }
  if (tlsCertificateKeyFile === undefined) {
    const needs = 'needs tlsCertificateKeyFile, a PEM file with a certificate and its private key';
    if (mode === 'required') reader.refuse('tlsMode', needs);
    else if (tlsCaFile !== undefined) reader.refuse('tlsCAFile', needs);
  }
  return { tlsCertificateKeyFile, tlsCaFile };
}

function checkBinding(reader: OptionReader, doors: Omit<DoorOptions, 'allowedHosts'>): void {
  const { bindIp } = doors;
  const mayBeInsecure = reader.boolean('allowInsecure');
  if (isLoopback(bindIp)) return;
  if (isBadAddress(bindIp)) {
    reader.refuse('bindIp', `${bindIp} is not an IP address`);
    return;
  }
  const hasTls = doors.tlsCertificateKeyFile !== undefined;
  const authenticates = doors.authTokenFile !== undefined || doors.tlsCaFile !== undefined;
  if (hasTls && authenticates) return;
  const lacks = [
    ...(hasTls ? [] : ['TLS (tlsCertificateKeyFile)']),
    ...(authenticates ? [] : ['authentication (authTokenFile, or tlsCAFile for client certificates)']),
  ].join(' and ');
  const risk = authenticates
    ? 'the token and all answers cross the network in plain text'
    : 'anybody who can reach it can start and commit';
  if (mayBeInsecure) reader.warn(`listening on ${bindIp}, beyond this machine, without ${lacks}: ${risk}`);
  else {
    const ways = 'add it, use a loopback address, or allowInsecure if the network is trusted';
    reader.refuse('bindIp', `${bindIp} can be reached from other machines, which needs ${lacks}; ${ways}`);
  }
}

const MAX_HOSTS = 100;
const LABEL = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-f:.]+\\])(?::\\d{1,5})?$`);

function readAllowedHosts(reader: OptionReader): readonly string[] {
  const hosts = reader.list('allowedHosts').map((host) => host.toLowerCase());
  if (hosts.length > MAX_HOSTS) reader.refuse('allowedHosts', `must have at most ${MAX_HOSTS} names`);
  const wrong = hosts.slice(0, MAX_HOSTS).find((host) => host.length > 260 || !HOST.test(host));
  if (wrong !== undefined)
    reader.refuse(
      'allowedHosts',
      `must be names of hosts, each with or without a port, and not "${wrong.slice(0, 80)}"`,
    );
  return Object.freeze(hosts);
}
