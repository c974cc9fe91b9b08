/** Puts the process's options together from flags, environment and file, and checks them. */
import { type FieldViolation, invalidRequest } from '../errors.js';
import { LOG_LEVELS, type LogLevel } from '../lib/logger.js';
import { type DoorOptions, readDoorOptions } from './doors.js';
import { FLAGS, type FlagKind, type FlagName } from './flags.js';
import { fromEnvironment, fromFlags, fromYaml, type RawValue, type ReadFile, type SourceValues } from './sources.js';
import { clusterUriProblems } from './uri.js';

/** What the server process runs with: complete, checked and frozen. */
export interface Config extends DoorOptions {
  /** Connection strings; hold passwords. */
  readonly cluster0: string;
  readonly cluster1: string;
  readonly instanceId: string;
  /** Whether one was given. */
  readonly instanceIsNamed: boolean;
  /** Whether a call to this instance counts for all of them. */
  readonly coordinated: boolean;
  /** Undefined: the only migration into its destination. */
  readonly migrationName: string | undefined;
  /** 1 to 4. */
  readonly loadLevel: number;
  /** Whether none was given. */
  readonly loadLevelIsDefault: boolean;
  /** Threads that copy and apply; 0: the main thread does. */
  readonly workerThreads: number;
  readonly disableVerification: boolean;
  /** 0 = any free port. */
  readonly httpPort: number;
  readonly grpcPort: number;
  /** Whether any other port does as well, since nobody asked for this one. */
  readonly grpcPortIsDefault: boolean;
  readonly stayUpOnFailure: boolean;
  readonly verbosity: LogLevel;
  /** Undefined: standard output. */
  readonly logDirectory: string | undefined;
  /** Where the metrics are written from time to time; undefined: nowhere. */
  readonly metricsDirectory: string | undefined;
  /** Undefined: only what the OTEL_* variables say. */
  readonly otlpEndpoint: string | undefined;
  /** One log line each at start: options without effect, unknown keys, risks taken. */
  readonly notices: readonly { readonly level: 'info' | 'warn'; readonly message: string }[];
}

/** Where a configuration comes from. */
export interface ConfigInput {
  /** The command line's values by flag name, as text or boolean. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: NodeJS.ProcessEnv;
  readonly readFile: ReadFile;
}

/**
 * The process's configuration: command line before environment before file.
 * Errors: InvalidRequest (exit code 2) with every violation at once, none of which shows a secret.
 * Source: docs/options.md.
 */
export function loadConfig(input: ConfigInput): Config {
  const flags = fromFlags(input.flags);
  const env = fromEnvironment(input.env, input.readFile);
  const sources: SourceValues[] = [flags, env];
  const path = flags.values.get('config') ?? env.values.get('config');
  if (path !== undefined) sources.push(fromYaml(String(path.value), input.readFile));
  const reader = new Reader(sources);
  const config = readAll(reader);
  if (reader.violations.length > 0) throw invalidRequest(reader.violations);
  return Object.freeze({ ...config, notices: Object.freeze(reader.notices()) });
}

function readAll(reader: Reader): Omit<Config, 'notices'> {
  const doors = readDoorOptions(reader);
  const httpPort = reader.integer('port', 0, 65_535, 27_182);
  const { port: grpcPort, isDefault: grpcPortIsDefault } = grpcPortOf(reader, httpPort);
  const metricsDirectory = reader.text('metricsLoggingFilepath');
  return {
    cluster0: clusterUri(reader, 'cluster0'),
    cluster1: clusterUri(reader, 'cluster1'),
    instanceId: reader.text('id') ?? 'coordinator',
    instanceIsNamed: reader.isGiven('id'),
    coordinated: reader.boolean('coordinated'),
    migrationName: reader.text(
      'migrationName',
      /^[A-Za-z0-9_]{1,44}$/,
      'must be 1 to 44 letters, digits and underscores',
    ),
    loadLevel: reader.integer('loadLevel', 1, 4, 3),
    loadLevelIsDefault: !reader.isGiven('loadLevel'),
    workerThreads: reader.integer('workerThreads', 0, 16, 0),
    disableVerification: reader.boolean('disableVerification'),
    ...doors,
    httpPort,
    grpcPort,
    grpcPortIsDefault,
    stayUpOnFailure: reader.boolean('stayUpOnFailure'),
    verbosity: verbosity(reader),
    logDirectory: reader.text('logPath'),
    metricsDirectory: reader.boolean('disableMetricsLogging') ? undefined : metricsDirectory,
    otlpEndpoint: reader.text(
      'otlpEndpoint',
      /^https?:\/\/[^/\s]/,
      'must be a URL that begins with http:// or https://',
    ),
  };
}

function clusterUri(reader: Reader, name: 'cluster0' | 'cluster1'): string {
  const uri = reader.text(name);
  if (uri === undefined) {
    if (!reader.isRefused(name)) reader.refuse(name, 'is required: the connection string of a cluster');
    return '';
  }
  for (const problem of clusterUriProblems(uri)) reader.refuse(name, problem);
  return uri;
}

const GRPC_PORT = 27_183;
/** User interfaces give the first migration a port, and the next ones those that follow it. */
const COUNTED_UP = 100;

/** A port that nobody asked for must be in nobody's way: not in our own HTTP port's, nor in that of the next instance. */
function grpcPortOf(reader: Reader, httpPort: number): { readonly port: number; readonly isDefault: boolean } {
  if (reader.isGiven('grpcPort')) {
    const port = reader.integer('grpcPort', 0, 65_535, GRPC_PORT);
    if (port !== 0 && port === httpPort) reader.refuse('grpcPort', 'must differ from "port"');
    return { port, isDefault: false };
  }
  const isInTheWay = reader.isGiven('port') && httpPort <= GRPC_PORT && httpPort > GRPC_PORT - COUNTED_UP;
  return { port: isInTheWay ? 0 : GRPC_PORT, isDefault: true };
}

function verbosity(reader: Reader): LogLevel {
  const given = reader.text('verbosity');
  if (given === undefined) return 'DEBUG';
  const level = LOG_LEVELS.find((item, index) => item === given.toUpperCase() || String(index - 1) === given);
  if (level === undefined) reader.refuse('verbosity', `must be one of ${LOG_LEVELS.join(', ')}, or -1 to 5`);
  return level ?? 'DEBUG';
}

/** Picks each value from the first source that has it, and collects what is wrong. */
class Reader {
  readonly violations: FieldViolation[];
  readonly #sources: readonly SourceValues[];
  readonly #warnings: string[];

  constructor(sources: readonly SourceValues[]) {
    this.#sources = sources;
    this.violations = sources.flatMap((source) => source.violations);
    this.#warnings = sources.flatMap((source) => source.warnings);
  }

  text(name: FlagName, pattern: RegExp = /\S/, rule = 'must not be empty'): string | undefined {
    const given = this.#find(name);
    if (given === undefined) return undefined;
    const value = asText(given.value);
    if (value === undefined) this.#refuseValue(name, given, 'must be a string');
    else if (!pattern.test(value)) this.#refuseValue(name, given, rule);
    return value;
  }

  /** Of a text the parts between commas, of a list in the file its members. */
  list(name: FlagName): readonly string[] {
    const given = this.#find(name);
    if (given === undefined) return [];
    const parts = Array.isArray(given.value) ? given.value.map(asText) : asText(given.value)?.split(',');
    if (parts === undefined || parts.includes(undefined)) {
      this.#refuseValue(name, given, 'must be strings, separated by commas');
      return [];
    }
    return parts.map((part) => part?.trim() ?? '').filter((part) => part !== '');
  }

  integer(name: FlagName, min: number, max: number, fallback: number): number {
    const given = this.#find(name);
    if (given === undefined) return fallback;
    const text = asText(given.value) ?? '';
    const value = /^-?\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    this.#refuseValue(name, given, `must be a whole number from ${min} to ${max}`);
    return fallback;
  }

  boolean(name: FlagName): boolean {
    const given = this.#find(name);
    if (given === undefined) return false;
    const value = asBoolean(given.value);
    if (value === undefined) this.#refuseValue(name, given, 'must be true or false');
    return value ?? false;
  }

  refuse(field: FlagName, description: string): void {
    this.violations.push({ field, description });
  }

  isGiven(name: FlagName): boolean {
    return this.#find(name) !== undefined;
  }

  isRefused(field: FlagName): boolean {
    return this.violations.some((violation) => violation.field === field);
  }

  warn(message: string): void {
    this.#warnings.push(message);
  }

  /** One line per flag without effect that was given, then the warnings. */
  notices(): Config['notices'] {
    const ignored = FLAGS.flatMap((flag) => {
      const given = 'ignored' in flag ? this.#find(flag.name) : undefined;
      if (given === undefined || !('ignored' in flag) || isOff(flag.kind, given)) return [];
      const level = 'undocumented' in flag ? ('warn' as const) : ('info' as const);
      return [{ level, message: `${given.origin} is accepted but has no effect: ${flag.ignored}` }];
    });
    return [...ignored, ...this.#warnings.map((message) => ({ level: 'warn' as const, message }))];
  }

  #find(name: FlagName): RawValue | undefined {
    return this.#sources.find((source) => source.values.has(name))?.values.get(name);
  }

  #refuseValue(field: FlagName, given: RawValue, rule: string): void {
    this.violations.push({ field, description: `${rule} (given by ${given.origin})` });
  }
}

function isOff(kind: FlagKind, given: RawValue): boolean {
  return kind === 'boolean' && asBoolean(given.value) === false;
}

function asText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' ? String(value) : undefined;
}

function asBoolean(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  const text = asText(value)?.toLowerCase();
  if (text === 'true' || text === '1') return true;
  return text === 'false' || text === '0' ? false : undefined;
}
