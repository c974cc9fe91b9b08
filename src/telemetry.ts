import { hostname } from 'node:os';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK, resources, metrics as sdkMetrics } from '@opentelemetry/sdk-node';
import type { Logger } from './lib/logger.js';
import { settlesWithin } from './lib/signals.js';

const SHUTDOWN_MS = 2000;

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
  const exporters = otlpExporters(config);
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
  });
  sdk.start();
  return {
    metricsText: () => renderText(prometheus),
    shutdown: async () => {
      if (!(await settlesWithin(sdk.shutdown(), SHUTDOWN_MS)))
        logger.warn('telemetry did not stop in time; its last data is lost');
      diag.disable();
    },
  };
}

interface Exporters {
  readonly metricReaders: sdkMetrics.PeriodicExportingMetricReader[];
  readonly traceExporter: OTLPTraceExporter | undefined;
}

/** Whatever is not given here (headers, certificates, time-outs), the exporters read from OTEL_EXPORTER_OTLP_*. */
function otlpExporters({ otlpEndpoint, env }: TelemetryConfig): Exporters {
  const urlOf = (signal: 'traces' | 'metrics'): { url?: string } | undefined => {
    if (otlpEndpoint !== undefined) return { url: `${otlpEndpoint.replace(/\/+$/, '')}/v1/${signal}` };
    const isSet = (name: string): boolean => (env[name] ?? '').trim() !== '';
    const configured =
      isSet('OTEL_EXPORTER_OTLP_ENDPOINT') || isSet(`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_ENDPOINT`);
    return configured ? {} : undefined;
  };
  const traces = env['OTEL_TRACES_EXPORTER'] === 'none' ? undefined : urlOf('traces');
  const metrics = env['OTEL_METRICS_EXPORTER'] === 'none' ? undefined : urlOf('metrics');
  return {
    traceExporter: traces === undefined ? undefined : new OTLPTraceExporter(traces),
    metricReaders:
      metrics === undefined
        ? []
        : [new sdkMetrics.PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(metrics) })],
  };
}

async function renderText(reader: PrometheusExporter): Promise<string> {
  if (process.env['OTEL_SDK_DISABLED'] === 'true') return '# telemetry is switched off by OTEL_SDK_DISABLED\n';
  const { resourceMetrics, errors } = await reader.collect();
  const text = withMongosyncNames(
    new PrometheusSerializer(undefined, false, undefined, false, true).serialize(resourceMetrics),
  );
  return errors.length === 0 ? text : `# ${errors.length} metrics could not be read\n${text}`;
}

/** The serializer ends every counter in `_total`; mongosync's counters are named without, and dashboards ask for those. */
function withMongosyncNames(text: string): string {
  return text.replace(/^((?:# (?:HELP|UNIT|TYPE) )?mongosync_[a-z0-9_]+?)_total\b/gm, '$1');
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
