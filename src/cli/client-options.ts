/** Reads the options that every client command takes, from flags and the environment. */
import { type Command, Option } from 'commander';
import { envNameOf } from '../config/flags.js';
import { type FieldViolation, invalidRequest } from '../errors.js';
import type { ClientOptions } from './client.js';
import { readClientCredentials } from './client-credentials.js';
import type { Io } from './io.js';

type Values = Readonly<Record<string, unknown>>;

const DEFAULT_PORT = 27183;
const OUTPUTS = ['text', 'json'] as const;

interface ClientFlag {
  readonly name: string;
  readonly flags: string;
  readonly help: string;
  readonly variable: string;
}

const CLIENT_FLAGS: readonly ClientFlag[] = [
  {
    name: 'target',
    flags: '--target <HOST[:PORT]>',
    help: `the server's gRPC address (default: localhost:${DEFAULT_PORT})`,
    variable: 'MONGOFERRY_TARGET',
  },
  {
    name: 'output',
    flags: '--output <FORMAT>',
    help: 'how to print (default: text)',
    variable: 'MONGOFERRY_OUTPUT',
  },
  {
    name: 'tls',
    flags: '--tls [BOOL]',
    help: 'use TLS; the well-known authorities are trusted unless tlsCAFile is given',
    variable: 'MONGOFERRY_TLS',
  },
  // The server has these files' options, too: one environment serves both.
  {
    name: 'tlsCAFile',
    flags: '--tlsCAFile <FILE>',
    help: "PEM with the authority of the server's certificate; switches TLS on",
    variable: envNameOf('tlsCAFile'),
  },
  {
    name: 'tlsCertificateKeyFile',
    flags: '--tlsCertificateKeyFile <FILE>',
    help: 'PEM with a client certificate and its key; switches TLS on',
    variable: envNameOf('tlsCertificateKeyFile'),
  },
  {
    name: 'authTokenFile',
    flags: '--authTokenFile <FILE>',
    help: "file with the server's token",
    variable: envNameOf('authTokenFile'),
  },
  {
    name: 'allowInsecure',
    flags: '--allowInsecure [BOOL]',
    help: 'send the token to another machine in plain text',
    variable: envNameOf('allowInsecure'),
  },
];

/** Options of the server by which people look for it. */
const OF_THE_SERVER = ['port', 'grpcPort', 'bindIp'];

/** Adds the options to a client command. */
export function addClientFlags(command: Command): Command {
  for (const { flags, help, variable } of CLIENT_FLAGS)
    command.addOption(optionOf(flags, `${help} (env: ${variable})`));
  for (const name of OF_THE_SERVER) command.addOption(new Option(`--${name} <VALUE>`).hideHelp());
  return command;
}

function optionOf(flags: string, help: string): Option {
  const option = new Option(flags, help);
  return flags.startsWith('--output') ? option.choices(OUTPUTS) : option;
}

/**
 * The options and the command's other values, with what the environment says where a flag is not given; an empty variable
 * counts as unset. `before`: flags that stood before the command. Errors: InvalidRequest.
 */
export function readClientOptions(given: Values, before: Values, io: Io): { options: ClientOptions; values: Values } {
  const violations: FieldViolation[] = [...OF_THE_SERVER, ...Object.keys(before)]
    .filter((name) => (given[name] ?? before[name]) !== undefined && !isClientFlag(name))
    .map((name) => ({ field: name, description: serverOnly(name) }));
  const values: Record<string, unknown> = { ...before, ...given };
  for (const { name, variable } of CLIENT_FLAGS) {
    const text = io.env[variable];
    if (values[name] === undefined && text !== undefined && text !== '') values[name] = text;
  }
  const output = OUTPUTS.find((each) => each === (values['output'] ?? 'text'));
  if (output === undefined) violations.push({ field: 'output', description: 'must be text or json' });
  if (output === undefined || violations.length > 0) throw invalidRequest(violations);
  const target = withPort(String(values['target'] ?? 'localhost'));
  return { options: { target, output, credentials: readClientCredentials(values, target, io) }, values };
}

function isClientFlag(name: string): boolean {
  return CLIENT_FLAGS.some((each) => each.name === name);
}

function serverOnly(name: string): string {
  return `is an option of the server; a client command finds it by --target HOST:PORT, its gRPC port (default: localhost:${DEFAULT_PORT})`.replace(
    'an option',
    name === 'port' ? 'the HTTP port' : 'an option',
  );
}

/** `host` and `[address]` stand for the default port; other forms are left as they are. */
function withPort(target: string): string {
  return /^([^:/]+|\[[^\]]+\])$/.test(target) ? `${target}:${DEFAULT_PORT}` : target;
}
