/** Exports metrics and traces by OpenTelemetry where the process is told to. */
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { type Context, type ContextManager, DiagLogLevel, diag, ROOT_CONTEXT } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK, resources, metrics as sdkMetrics } from '@opentelemetry/sdk-node';
import type { Logger } from './lib/logger.js';
import { settlesWithin } from './lib/signals.js';

const SHUTDOWN_MS = 2000;
const CONNECT_MS = 3000;

/** What telemetry needs to know of its process. */
export interface TelemetryConfig {
  /** Collector's base URL for OTLP over HTTP; undefined: what OTEL_EXPORTER_OTLP_* say, and if nothing, no export. */
  readonly otlpEndpoint: string | undefined;
  readonly instanceId: string;
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Running telemetry. */
export interface Telemetry {
  /** All metrics in Prometheus' text format. */
  metricsText(): Promise<string>;
  /** Sends what is left and stops; at most 2 s. Never rejects. */
  shutdown(): Promise<void>;
}

/**
 * Starts OpenTelemetry for the process. Metrics can always be read by `metricsText`; traces and metrics leave the
 * process only when a collector is configured, and logs never do. Call once, before anything is counted or traced.
 */
export function startTelemetry(config: TelemetryConfig, logger: Logger): Telemetry {
  diag.setLogger(diagLogger(logger), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  // The server of the exporter is never started: the gateway serves its text beside the other paths.
  const prometheus = new PrometheusExporter({ preventServerStart: true });
  const { env } = config;
  const exporters = otlpExporters(config, logger);
  const sdk = new NodeSDK({
    serviceName: config.env['OTEL_SERVICE_NAME'] ?? 'mongoferry',
    resource: resources.resourceFromAttributes({
      'service.version': config.version,
      'service.instance.id': config.instanceId,
      'host.name': hostname(),
    }),
    // Not the process detector: it would send the command line, and with it the connection strings' passwords. Not the
    // host detector: it answers later than the first reader asks.
    resourceDetectors: [resources.envDetector],
    metricReaders: [prometheus, ...exporters.metricReaders],
    // Said even when there is none: left out, the SDK would export to its own default address.
    ...(exporters.traceExporter === undefined ? { spanProcessors: [] } : { traceExporter: exporters.traceExporter }),
    logRecordProcessors: [],
    ...(exporters.traceExporter === undefined ? { contextManager: new NoContext() } : {}),
  });
  sdk.start();
  const looking = new AbortController();
  if (env['OTEL_SDK_DISABLED'] !== 'true') lookForCollectors(exporters.endpoints, logger, looking.signal);
  return {
    metricsText: () => renderText(prometheus),
    shutdown: async () => {
      looking.abort();
      if (!(await settlesWithin(sdk.shutdown(), SHUTDOWN_MS)))
        logger.warn('telemetry did not stop in time; its last data is lost');
      diag.disable();
    },
  };
}

/** Knows no context: one that follows asynchronous work makes every promise of the process dearer. */
class NoContext implements ContextManager {
  active(): Context {
    return ROOT_CONTEXT;
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    _: Context,
    fn: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return fn.call(thisArg, ...args);
  }

  bind<T>(_: Context, target: T): T {
    return target;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    return this;
  }
}

interface Exporters {
  /** Where they send to. */
  readonly endpoints: readonly string[];
  readonly metricReaders: sdkMetrics.PeriodicExportingMetricReader[];
  readonly traceExporter: OTLPTraceExporter | undefined;
}

/** Whatever is not given here (headers, certificates, time-outs), the exporters read from OTEL_EXPORTER_OTLP_*. */
function otlpExporters({ otlpEndpoint, env }: TelemetryConfig, logger: Logger): Exporters {
  const urlOf = (signal: 'traces' | 'metrics'): { url?: string } | undefined => {
    if (otlpEndpoint !== undefined) return { url: `${otlpEndpoint.replace(/\/+$/, '')}/v1/${signal}` };
    const isSet = (name: string): boolean => (env[name] ?? '').trim() !== '';
    const configured =
      isSet('OTEL_EXPORTER_OTLP_ENDPOINT') || isSet(`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_ENDPOINT`);
    return configured ? {} : undefined;
  };
  const traces = env['OTEL_TRACES_EXPORTER'] === 'none' ? undefined : urlOf('traces');
  const metrics = env['OTEL_METRICS_EXPORTER'] === 'none' ? undefined : urlOf('metrics');
  const endpointOf = (signal: 'TRACES' | 'METRICS'): string =>
    otlpEndpoint ?? env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]?.trim() ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';
  return {
    endpoints: [
      ...(traces === undefined ? [] : [endpointOf('TRACES')]),
      ...(metrics === undefined ? [] : [endpointOf('METRICS')]),
    ],
    traceExporter: traces === undefined ? undefined : new OTLPTraceExporter(traces),
    metricReaders:
      metrics === undefined
        ? []
        : [
            new sdkMetrics.PeriodicExportingMetricReader({
              exporter: new OTLPMetricExporter(metrics),
              ...exportTimes(env, logger),
            }),
          ],
  };
}

/** The standard variables, which a reader that is made here does not look at by itself. */
function exportTimes(
  env: NodeJS.ProcessEnv,
  logger: Logger,
): { readonly exportIntervalMillis: number; readonly exportTimeoutMillis: number } {
  const read = (name: string, fallback: number): number => {
    const text = env[name]?.trim() ?? '';
    const ms = /^\d{1,9}$/.test(text) ? Number(text) : 0;
    if (text !== '' && ms === 0) logger.warn(`${name} is not a number of milliseconds; ${fallback} is used instead`);
    return ms === 0 ? fallback : ms;
  };
  const exportIntervalMillis = read('OTEL_METRIC_EXPORT_INTERVAL', 60_000);
  const exportTimeoutMillis = Math.min(read('OTEL_METRIC_EXPORT_TIMEOUT', 30_000), exportIntervalMillis);
  return { exportIntervalMillis, exportTimeoutMillis };
}

/** The exporters themselves tell of a collector that is not there only after an interval and several tries. */
function lookForCollectors(endpoints: readonly string[], logger: Logger, signal: AbortSignal): void {
  const places = new Map(endpoints.map((endpoint) => [placeOf(endpoint)?.text ?? '', placeOf(endpoint)]));
  for (const place of places.values()) {
    if (place === undefined) {
      logger.warn('the endpoint of the OpenTelemetry collector is not a URL; nothing is sent');
      continue;
    }
    const warn = (why: string): void =>
      logger.warn(`the OpenTelemetry collector at ${place.text} cannot be reached (${why}); data for it is lost`);
    const socket = connect({ host: place.host, port: place.port, signal });
    socket.unref();
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error(`no answer for ${CONNECT_MS / 1000} s`)));
    socket.once('connect', () => socket.destroy());
    socket.once('error', (error: Error & { readonly code?: string }) => {
      if (!signal.aborted) warn(error.code ?? error.message);
    });
  }
}

interface Place {
  readonly host: string;
  readonly port: number;
  readonly text: string;
}

/** Without the path and the credentials that a URL may hold. */
function placeOf(endpoint: string): Place | undefined {
  if (!URL.canParse(endpoint)) return undefined;
  const { hostname, port, protocol } = new URL(endpoint);
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: number, text: `${hostname}:${number}` };
}

async function renderText(reader: PrometheusExporter): Promise<string> {
  if (process.env['OTEL_SDK_DISABLED'] === 'true') return '# telemetry is switched off by OTEL_SDK_DISABLED\n';
  const { resourceMetrics, errors } = await reader.collect();
  const text = withMongosyncNames(
    withUnits(new PrometheusSerializer(undefined, false, undefined, false, true).serialize(resourceMetrics)),
  );
  return errors.length === 0 ? text : `# ${errors.length} metrics could not be read\n${text}`;
}

const UNITS: ReadonlyMap<string, string> = new Map([
  ['ms', 'milliseconds'],
  ['s', 'seconds'],
  ['By', 'bytes'],
  ['%', 'percent'],
]);

/** Units have no line of their own in this format (and in OpenMetrics the name would have to end in one). */
function withUnits(text: string): string {
  return text.replace(/^(# HELP \S+ .*)\n# UNIT \S+ (.*)$/gm, (_, help: string, unit: string) => {
    const word = UNITS.get(unit);
    return word === undefined ? help : `${help} Unit: ${word}.`;
  });
}

/** The serializer ends every counter in `_total`; mongosync's counters are named without, and dashboards ask for those. */
function withMongosyncNames(text: string): string {
  return text.replace(/^((?:# (?:HELP|TYPE) )?mongosync_[a-z0-9_]+?)_total\b/gm, '$1');
}

function diagLogger(logger: Logger) {
  const log = logger.component('telemetry');
  return {
    error: (message: string) => log.warn(message),
    warn: (message: string) => log.warn(message),
    info: (message: string) => log.debug(message),
    debug: (message: string) => log.debug(message),
    verbose: (message: string) => log.trace(message),
  };
}
