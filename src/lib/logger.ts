/** Writes log lines as JSON in mongosync's shape. */
import { type Clock, systemClock } from './clock.js';
import { logTime } from './log-time.js';
import { MAX_VALUE_CHARACTERS, toLoggable } from './log-value.js';
import { redactAndCut } from './redact.js';

/** Severities, most talkative first; mongosync's `--verbosity` values. */
export const LOG_LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'PANIC'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Facts of a log line; never a password, a token or a document's content. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes log lines for one component. */
export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  fatal(message: string, fields?: LogFields): void;
  /** The same sink under another `componentName`. */
  component(name: string): Logger;
}

/** Takes finished lines, each with its newline. Must not throw. */
export interface LogSink {
  write(line: string): void;
}

/** What every line of a process says, and where lines go. */
export interface LoggerOptions {
  /** Lines below it are not written. */
  readonly level: LogLevel;
  /** `--id`, or `coordinator`. */
  readonly mongosyncId: string;
  readonly sink: LogSink;
  /** mongosync's `serverID`: tells the processes of one log store apart. Default: eight random hex digits. */
  readonly serverId?: string;
  /** Default `mongoferry`. */
  readonly componentName?: string;
  readonly clock?: Clock;
}

/**
 * A logger that writes JSON lines in mongosync's shape: `time` (RFC 3339, UTC, microseconds), `level` (lower case), `serverID`,
 * `mongosyncID`, `pid`, `componentName`, `message`, then the fields. Secrets are cut from the message and the fields;
 * an Error in a field becomes its name, code, message and chain of causes. Never throws.
 */
export function createLogger(options: LoggerOptions): Logger {
  const serverId = options.serverId ?? randomServerId();
  return new JsonLogger({ clock: systemClock, ...options, serverId }, options.componentName ?? 'mongoferry');
}

/** Field names of every line: a caller's field of the same name is written with an underscore in front. */
const RESERVED: ReadonlySet<string> = new Set([
  'time',
  'level',
  'serverID',
  'mongosyncID',
  'pid',
  'componentName',
  'message',
]);

class JsonLogger implements Logger {
  readonly #options: Required<Omit<LoggerOptions, 'componentName'>>;
  readonly #component: string;
  readonly #threshold: number;

  constructor(options: Required<Omit<LoggerOptions, 'componentName'>>, component: string) {
    this.#options = options;
    this.#component = component;
    this.#threshold = LOG_LEVELS.indexOf(options.level);
  }

  trace(message: string, fields?: LogFields): void {
    this.#log('TRACE', message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    this.#log('DEBUG', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#log('INFO', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#log('WARN', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#log('ERROR', message, fields);
  }

  fatal(message: string, fields?: LogFields): void {
    this.#log('FATAL', message, fields);
  }

  component(name: string): Logger {
    return new JsonLogger(this.#options, name);
  }

  #log(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (LOG_LEVELS.indexOf(level) < this.#threshold) return;
    const { clock, serverId, mongosyncId, sink } = this.#options;
    const line: Record<string, unknown> = {
      time: logTime(clock.now()),
      level: level.toLowerCase(),
      serverID: serverId,
      mongosyncID: mongosyncId,
      pid: process.pid,
      componentName: this.#component,
      message: redactAndCut(message, MAX_VALUE_CHARACTERS),
    };
    for (const [key, value] of Object.entries(fields ?? {})) {
      line[RESERVED.has(key) ? `_${key}` : key] = toLoggable(key, value);
    }
    sink.write(`${JSON.stringify(line)}\n`);
  }
}

function randomServerId(): string {
  return Math.floor(Math.random() * 0x1_0000_0000)
    .toString(16)
    .padStart(8, '0');
}
