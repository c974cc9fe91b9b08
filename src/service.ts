/** Builds the server process from its parts, and runs and closes them. */
import { readFileSync } from 'node:fs';
import { DoorCredentials, readDoorKeys } from './api/credentials.js';
import { type GrpcServer, startGrpcServer } from './api/grpc/server.js';
import { startGateway } from './api/http/gateway.js';
import { ReservedBytes } from './api/reserved-bytes.js';
import type { Config } from './config/config.js';
import { AppError, ExitCode, invalidRequest } from './errors.js';
import { EventLoopDelay } from './lib/event-loop.js';
import { type LogFileOptions, type OwnedLogSink, openLogFile, rotateOnSignal, stdoutSink } from './lib/log-file.js';
import { createLogger, type Logger } from './lib/logger.js';
import { onHangup } from './lib/process-signals.js';
import { redactText } from './lib/redact.js';
import { aborted, settlesWithin } from './lib/signals.js';
import { STATES } from './metadata/state.js';
import { observeEventLoop, observeMigration } from './metrics.js';
import { logMetrics } from './metrics-log.js';
import { createMigration, type Migration } from './migration/migration.js';
import { startTelemetry, type Telemetry } from './telemetry.js';
import { VERSION } from './version.js';

/** How long running calls may take to end once the process is stopping, and each other part to close. */
const DOORS_MS = 2000;
const PART_MS = 3000;

/** The parts a service is made of; tests put their own in place of some. */
export interface ServiceParts {
  readonly openSink: (config: Config) => OwnedLogSink;
  readonly openMetricsSink: (directory: string) => OwnedLogSink;
  readonly startTelemetry: typeof startTelemetry;
  readonly createMigration: typeof createMigration;
  readonly startGrpcServer: typeof startGrpcServer;
  readonly startGateway: typeof startGateway;
}

/** The server process, built but not yet running. */
export interface Service {
  readonly logger: Logger;
  /**
   * Opens the front doors, runs the migration until `signal` aborts or it cannot go on, closes everything in reverse
   * order and resolves with the process's exit code. Never rejects. Call once.
   */
  run(signal: AbortSignal): Promise<number>;
}

/**
 * The composition root: everything the process is made of is put together here and nowhere else.
 * Errors: InvalidRequest when the log directory cannot be written, or a file with a certificate or token cannot be used.
 */
export function buildService(config: Config, overrides: Partial<ServiceParts> = {}): Service {
  const parts = {
    openSink,
    openMetricsSink,
    startTelemetry,
    createMigration,
    startGrpcServer,
    startGateway,
    ...overrides,
  };
  const credentials = loadCredentials(config);
  const sink = parts.openSink(config);
  const logger = createLogger({ level: config.verbosity, mongosyncId: config.instanceId, sink });
  return { logger, run: (signal) => runService({ config, parts, sink, logger, credentials, signal }) };
}

interface Run {
  readonly config: Config;
  readonly parts: ServiceParts;
  readonly sink: OwnedLogSink;
  readonly logger: Logger;
  readonly credentials: DoorCredentials;
  readonly signal: AbortSignal;
}

async function runService(run: Run): Promise<number> {
  const { config, parts, sink, logger, credentials, signal } = run;
  const closers = new Closers(logger);
  closers.add('log', () => sink.close());
  closers.add('log rotation', rotateOnSignal(sink));
  closers.add('crash report', reportCrashes(logger));
  closers.add('reading credentials again', reloadOnHangup(config, credentials, logger));
  try {
    logSettings(config, logger);
    signal.throwIfAborted();
    for (const warning of credentials.warnings) logger.warn(warning);
    const delay = new EventLoopDelay((longestMs) => reportDelay(longestMs, logger));
    closers.add('event loop', () => delay[Symbol.dispose]());
    const migration = parts.createMigration({ ...config, processWarning: () => delayWarning(delay.longestMs) }, logger);
    const observing: (() => void)[] = [];
    // Closed after telemetry, whose last report tells how it all ended.
    closers.add('gauges', () => {
      for (const stop of observing) stop();
    });
    const telemetry = parts.startTelemetry({ ...config, version: VERSION, env: process.env }, logger);
    closers.add('telemetry', () => telemetry.shutdown());
    observing.push(
      observeMigration(STATES, () => migration.snapshot()),
      observeEventLoop(() => delay.longestMs),
    );
    openMetricsLog(run, telemetry, closers);
    const closeDoors = await openDoors(run, migration, telemetry);
    closers.add('front doors', closeDoors);
    // Streams end while the migration flushes, not after it: both have to fit into the time a supervisor waits.
    signal.addEventListener('abort', () => void closeDoors(), { once: true });
    await migration.run(signal);
    logger.info('stopped');
    return ExitCode.stopped;
  } catch (reason) {
    return await endOf(run, AppError.from(reason));
  } finally {
    await closers.close();
  }
}

/** From how long on it is said that the process is held up. */
const LONG_DELAY_MS = 1000;

function delayWarning(longestMs: number): string | undefined {
  if (longestMs < LONG_DELAY_MS) return undefined;
  const seconds = (longestMs / 1000).toFixed(1);
  return `The process was held up for ${seconds} s at a time: it answers and renews its lease late. Give it more CPU time`;
}

function reportDelay(longestMs: number, logger: Logger): void {
  const warning = delayWarning(longestMs);
  if (warning !== undefined) logger.warn(warning, { longestMs: Math.round(longestMs) });
}

/** What readers of mongosync's logs show first. Names are those of the options. */
function logSettings(config: Config, logger: Logger): void {
  const { instanceId: id, httpPort: port, logDirectory: logPath, metricsDirectory: metricsLoggingFilepath } = config;
  const { notices, cluster0, cluster1, migrationName, loadLevel, workerThreads } = config;
  const { grpcPort, bindIp, otlpEndpoint } = config;
  const { verbosity, disableVerification, stayUpOnFailure } = config;
  const system = { os: process.platform, arch: process.arch, node: process.version };
  logger.info('Version info', { version: VERSION, ...system });
  logger.info('Mongosync Options', {
    ...{ cluster0, cluster1, id, migrationName, loadLevel, port, grpcPort, bindIp, logPath, metricsLoggingFilepath },
    workerThreads,
    ...{ verbosity, disableVerification, stayUpOnFailure, otlpEndpoint },
  });
  for (const { level, message } of notices) logger[level](message);
}

/** Its last line is written once the migration has ended, and before telemetry has. */
function openMetricsLog({ config, parts, logger }: Run, telemetry: Telemetry, closers: Closers): void {
  if (config.metricsDirectory === undefined) return;
  const sink = parts.openMetricsSink(config.metricsDirectory);
  closers.add('metrics file', () => sink.close());
  closers.add('rotation of the metrics file', rotateOnSignal(sink));
  const stop = logMetrics({
    sink,
    instanceId: config.instanceId,
    metricsText: () => telemetry.metricsText(),
    onError: (error) => logger.warn('the metrics could not be written', { error }),
  });
  closers.add('metrics', stop);
}

/** Both front doors, open; returns the way to close them, which may be called more than once. */
async function openDoors(run: Run, control: Migration, telemetry: Telemetry): Promise<() => Promise<void>> {
  const { config, parts, logger, credentials } = run;
  const host = config.bindIp;
  const { allowedHosts } = config;
  const metricsText = (): Promise<string> => telemetry.metricsText();
  const held = new ReservedBytes();
  const common = { control, logger, host, held, credentials };
  // First: a free port that gRPC would take may be the one that was asked for here.
  const http = await listening(
    'port',
    config.httpPort,
    parts.startGateway({ ...common, port: config.httpPort, metricsText, allowedHosts }),
  );
  let closing: Promise<void> | undefined;
  try {
    const grpc = await openGrpc(config, logger, (port) => parts.startGrpcServer({ ...common, port }));
    logger.info('listening', { host, grpcPort: grpc.port, httpPort: http.port, ...describe(credentials) });
    return () => {
      closing ??= stopAll([http.stop(), grpc.stop(DOORS_MS)], logger);
      return closing;
    };
  } catch (error) {
    await http.stop();
    throw error;
  }
}

/** What a caller must bring; no secrets. */
function describe(credentials: DoorCredentials): Record<string, unknown> {
  const { validUntil, requiresToken, requiresClientCertificate } = credentials;
  return { tls: validUntil !== undefined, certificateValidUntil: validUntil, requiresClientCertificate, requiresToken };
}

/** Errors: InvalidRequest. */
function loadCredentials(config: Config): DoorCredentials {
  let isReload = false;
  return new DoorCredentials(() => {
    const keys = readDoorKeys(config, (path) => readFileSync(path, 'utf8'), isReload);
    isReload = true;
    return keys;
  });
}

/** At SIGHUP, if there is anything to read again. What cannot be used changes nothing. */
function reloadOnHangup(config: Config, credentials: DoorCredentials, logger: Logger): () => void {
  const { tlsCertificateKeyFile, authTokenFile } = config;
  if (tlsCertificateKeyFile === undefined && authTokenFile === undefined) return () => undefined;
  return onHangup(() => {
    try {
      credentials.reload();
      for (const warning of credentials.warnings) logger.warn(warning);
      logger.info('certificates and token were read again on SIGHUP', describe(credentials));
    } catch (error) {
      logger.error('certificates and token stay as they were, because the new files cannot be used', { error });
    }
  });
}

/** A port that nobody asked for ends nothing by being taken. */
async function openGrpc(
  { grpcPort, grpcPortIsDefault }: Config,
  logger: Logger,
  open: (port: number) => Promise<GrpcServer>,
): Promise<GrpcServer> {
  try {
    return await listening('grpcPort', grpcPort, open(grpcPort));
  } catch (error) {
    if (!grpcPortIsDefault || grpcPort === 0) throw error;
    logger.info(`port ${grpcPort} is taken; gRPC listens on a free port instead (--grpcPort chooses one)`);
    return await listening('grpcPort', 0, open(0));
  }
}

async function stopAll(stopping: readonly Promise<void>[], logger: Logger): Promise<void> {
  for (const result of await Promise.allSettled(stopping)) {
    if (result.status === 'rejected') logger.warn('a front door did not close properly', { error: result.reason });
  }
}

/** A port that is taken may be free again at the next start: the exit code says retryable. */
async function listening<T>(option: string, port: number, starting: Promise<T>): Promise<T> {
  try {
    return await starting;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new AppError('AddressInUse', `cannot listen on port ${port} (option ${option}): ${text}`, { cause });
  }
}

/** One fatal line; then at once the exit code, or, if the operator wants to look at the failure, once told to stop. */
async function endOf({ config, logger, signal }: Run, error: AppError): Promise<number> {
  if (error.code === 'ShuttingDown' && signal.aborted) {
    logger.info('stopped');
    return ExitCode.stopped;
  }
  const exitCode = error.row.exit;
  const staysUp = config.stayUpOnFailure && exitCode === ExitCode.failed && !signal.aborted;
  const outlook = staysUp ? 'the process keeps answering until it is told to stop' : 'the process ends';
  const text = `the migration cannot go on, and ${outlook}: ${error.message}`;
  logger.fatal(text, { exitCode, error });
  // Who started the process looks there, and not in a file.
  if (config.logDirectory !== undefined) process.stdout.write(`mongoferry: ${redactText(text)}\n`);
  if (staysUp) await aborted(signal);
  return exitCode;
}

function openSink(config: Config): OwnedLogSink {
  if (config.logDirectory === undefined) return stdoutSink();
  return openFile('logPath', { directory: config.logDirectory });
}

function openMetricsSink(directory: string): OwnedLogSink {
  return openFile('metricsLoggingFilepath', { directory, name: 'mongosync_metrics' });
}

function openFile(field: string, options: LogFileOptions): OwnedLogSink {
  try {
    return openLogFile(options);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw invalidRequest([{ field, description: `cannot be written: ${text}` }]);
  }
}

/** A bug that nothing catches still ends the process as Node sees fit, but not without a line in the log. */
function reportCrashes(logger: Logger): () => void {
  const report = (error: Error): void => logger.fatal('the process ends because of a bug', { error });
  process.on('uncaughtExceptionMonitor', report);
  return () => {
    process.removeListener('uncaughtExceptionMonitor', report);
  };
}

/** Closes parts in the reverse of the order in which they were made; one that fails or hangs does not stop the others. */
class Closers {
  readonly #parts: { readonly name: string; readonly close: () => Promise<void> | void }[] = [];
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add(name: string, close: () => Promise<void> | void): void {
    this.#parts.push({ name, close });
  }

  async close(): Promise<void> {
    for (const part of this.#parts.splice(0).reverse()) {
      const closing = Promise.resolve()
        .then(part.close)
        .catch((error: unknown) => this.#logger.warn(`closing failed: ${part.name}`, { error }));
      if (!(await settlesWithin(closing, PART_MS))) this.#logger.warn(`closing took too long: ${part.name}`);
    }
  }
}
