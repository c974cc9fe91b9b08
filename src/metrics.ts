/**
 * Every instrument of the process, with its unit and description. A name that starts with `mongosync_` is mongosync's
 * own and means the same, so that dashboards made for it go on working; the others start with `mongoferry_`.
 * Source: docs/operations.md, "Metrics".
 */
import {
  type Attributes,
  type BatchObservableResult,
  type Meter,
  type ObservableResult,
  type Counter as OtelCounter,
  type Histogram as OtelHistogram,
  metrics as otel,
} from '@opentelemetry/api';

/** A sum that only grows. */
export interface Counter<A extends Attributes = Record<never, never>> {
  add(value: number, ...attributes: Record<never, never> extends A ? [] : [A]): void;
}

/** A distribution of values. */
export interface Histogram<A extends Attributes = Record<never, never>> {
  record(value: number, ...attributes: Record<never, never> extends A ? [] : [A]): void;
}

type OneOf<K extends string, V extends string = string> = Readonly<Record<K, V>>;

const MS_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];
const LONG_MS_BUCKETS = [100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000];
const COUNT_BUCKETS = [1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000];
const BYTE_BUCKETS = [1e3, 1e4, 1e5, 1e6, 4e6, 8e6, 16e6, 32e6, 48e6];

/** The instruments that code adds to where the thing happens. Cheap, and safe before telemetry is started. */
export const metrics = {
  // The copy.
  copiedBytes: counter('mongosync_collection_copy_copied_bytes_count', 'By', 'Bytes of documents written by the copy.'),
  documentsCopied: counter(
    'mongosync_collection_copy_copied_docs_count',
    '{document}',
    'Documents written by the copy.',
  ),
  partitionsCompleted: counter(
    'mongosync_collection_copy_partitions_completed_count',
    '{partition}',
    'Partitions copied.',
  ),
  partitionDuration: histogram(
    'mongosync_collection_copy_copy_partition_duration',
    'ms',
    'Time to copy one partition.',
    LONG_MS_BUCKETS,
  ),
  copyReadDuration: histogram(
    'mongosync_collection_copy_source_read_op_duration',
    'ms',
    'Time of one read of the copy.',
    MS_BUCKETS,
  ),
  copyBatchDuration: histogram(
    'mongosync_collection_copy_destination_write_op_duration',
    'ms',
    'Time to write one batch of the copy.',
    MS_BUCKETS,
  ),
  copyBatchDocuments: histogram(
    'mongosync_bulk_inserter_docs_per_batch',
    '{document}',
    'Documents in one batch of the copy.',
    COUNT_BUCKETS,
  ),
  copyBatchBytes: histogram(
    'mongosync_bulk_inserter_bytes_per_batch',
    'By',
    'Bytes in one batch of the copy.',
    BYTE_BUCKETS,
  ),

  // Change event application.
  eventsRead: counter(
    'mongosync_cea_change_stream_reader_events_read',
    '{event}',
    'Change events read from the source.',
  ),
  eventBytesRead: counter(
    'mongosync_cea_change_stream_reader_bytes_read',
    'By',
    'Bytes of change events read from the source.',
  ),
  eventsApplied: eventsApplied(),
  applyReadDuration: histogram(
    'mongosync_cea_source_read_op_duration',
    'ms',
    'Time of one read of the change stream, waiting included.',
    MS_BUCKETS,
  ),
  applyBatchDuration: histogram(
    'mongosync_cea_destination_write_op_duration',
    'ms',
    'Time to write one batch of change events.',
    MS_BUCKETS,
  ),
  applyBatchEvents: histogram('mongoferry_apply_batch_events', '{event}', 'Change events in one batch.', COUNT_BUCKETS),
  refetches: counter(
    'mongoferry_refetches',
    '{document}',
    'Documents read again from the source because the destination refused a change.',
  ),
  refetchDuration: histogram(
    'mongosync_cea_crud_applier_refetch_duration',
    'ms',
    'Time to read one document again.',
    MS_BUCKETS,
  ),
  duplicateKeys: counter(
    'mongosync_cea_crud_applier_duplicate_key_errors_count',
    '{error}',
    'Duplicate keys met while applying changes.',
  ),
  checkpoints: counter('mongoferry_checkpoints', '{checkpoint}', 'Resume points stored on the destination.'),

  // The verifier.
  documentsHashed: counter<OneOf<'side', 'source' | 'destination'>>(
    'mongoferry_verifier_documents_hashed',
    '{document}',
    'Documents read by the initial hashing.',
  ),
  rechecks: counter('mongoferry_verifier_rechecks', '{document}', 'Documents compared again.'),
  mismatches: counter('mongoferry_verifier_mismatches', '{document}', 'Documents found to differ for good.'),

  // Both.
  commandDuration: histogram<OneOf<'cluster' | 'command'>>(
    'mongoferry_command_duration',
    'ms',
    'Time of one command on a cluster.',
    MS_BUCKETS,
  ),
  retries: counter<OneOf<'operation'>>(
    'mongosync_retry_count',
    '{retry}',
    'Operations tried again after a transient error.',
  ),
  indexBuilds: counter<OneOf<'outcome', 'built' | 'failed' | 'cancelled'>>(
    'mongoferry_index_builds',
    '{index}',
    'Index builds by how they ended.',
  ),

  // The front doors.
  requestDuration: histogram<OneOf<'door' | 'method' | 'code'>>(
    'mongoferry_request_duration',
    'ms',
    'Time of one call by gRPC or HTTP.',
    MS_BUCKETS,
  ),
} as const;

/** What the gauges read; a migration's Snapshot is one. Seconds, bytes and milliseconds as named. */
export interface GaugeSource {
  readonly state: string;
  readonly canCommit: boolean;
  readonly canWrite: boolean;
  readonly info: string | undefined;
  readonly lag: { readonly overallSeconds: number | undefined } | undefined;
  readonly totalEventsApplied: number | undefined;
  readonly copy: { readonly totalBytes: number | undefined; readonly copiedBytes: number } | undefined;
  readonly sourcePingMs: number | undefined;
  readonly destinationPingMs: number | undefined;
  readonly queuedBytes: number;
  readonly verification:
    | Readonly<Record<'source' | 'destination', { readonly lagSeconds: number | undefined }>>
    | undefined;
}

/** The values of `info` (docs/api.md, progress). */
const PHASES = ['collection copy', 'change event application', 'waiting for commit to complete', 'commit completed'];

/**
 * Registers the gauges that are read from a snapshot at every collection. Call after telemetry is started; returns the
 * way to unregister. `states` are all states a migration can be in: the current one is 1, the others 0.
 */
export function observeMigration(states: readonly string[], snapshot: () => GaugeSource): () => void {
  const meter = otel.getMeterProvider().getMeter(SCOPE);
  const gauge = (name: string, unit: string, description: string) =>
    meter.createObservableGauge(name, { unit, description });
  const gauges = {
    state: gauge('mongoferry_state', '1', 'The state of the migration: 1 for the current one.'),
    phase: gauge('mongosync_phase', '1', 'The phase of the migration: 1 for the current one.'),
    lag: gauge('mongosync_lag_time', 's', 'Newest time of the source minus newest time applied.'),
    events: meter.createObservableCounter('mongosync_cea_total_events_applied', {
      unit: '{event}',
      description: 'Change events applied since the migration began, earlier processes included.',
    }),
    copied: gauge('mongoferry_copy_copied_bytes', 'By', 'Bytes copied, earlier processes included.'),
    total: gauge('mongoferry_copy_estimated_total_bytes', 'By', 'Bytes to copy, by estimate.'),
    canCommit: gauge('mongoferry_can_commit', '1', '1 when a commit would succeed.'),
    canWrite: gauge('mongoferry_can_write', '1', '1 when applications may write to the destination.'),
    sourcePing: gauge('mongosync_src_ping_latency', 'ms', 'Last ping of the source; -1 when it failed.'),
    destinationPing: gauge('mongosync_dst_ping_latency', 'ms', 'Last ping of the destination; -1 when it failed.'),
    verifierLag: gauge('mongoferry_verifier_lag', 's', 'Newest time of a cluster minus newest time compared.'),
    queued: gauge('mongoferry_queued_bytes', 'By', 'Bytes in the queues between readers and writers.'),
  };
  const known = new Set<string>();
  const observe = (result: BatchObservableResult): void => {
    const now = snapshot();
    const put = (name: keyof typeof gauges, value: number | undefined, attributes?: Attributes): void => {
      // The SDK goes on showing the last value of what is no longer observed, so the unknown has to be said.
      if (value === undefined && !known.has(name)) return;
      known.add(name);
      result.observe(gauges[name], value ?? Number.NaN, attributes);
    };
    for (const state of states) put('state', state === now.state ? 1 : 0, { state });
    for (const phase of PHASES) put('phase', phase === now.info ? 1 : 0, { phase });
    put('lag', now.lag?.overallSeconds);
    put('events', now.totalEventsApplied);
    put('copied', now.copy?.copiedBytes);
    put('total', now.copy?.totalBytes);
    put('canCommit', now.canCommit ? 1 : 0);
    put('canWrite', now.canWrite ? 1 : 0);
    put('sourcePing', now.sourcePingMs);
    put('destinationPing', now.destinationPingMs);
    put('verifierLag', verifierLagOf(now));
    put('queued', now.queuedBytes);
  };
  const observed = Object.values(gauges);
  meter.addBatchObservableCallback(observe, observed);
  return () => meter.removeBatchObservableCallback(observe, observed);
}

/** Registers the gauge of the event loop's delay, in milliseconds; returns the way to unregister. */
export function observeEventLoop(longestMs: () => number): () => void {
  const gauge = otel.getMeterProvider().getMeter(SCOPE).createObservableGauge('mongoferry_event_loop_delay', {
    unit: 'ms',
    description: 'The longest time within the last 10 to 20 seconds for which the event loop was held up.',
  });
  const observe = (result: ObservableResult): void => result.observe(longestMs());
  gauge.addCallback(observe);
  return () => gauge.removeCallback(observe);
}

/** Of the side that is further behind. */
function verifierLagOf({ verification }: GaugeSource): number | undefined {
  const source = verification?.source.lagSeconds;
  const destination = verification?.destination.lagSeconds;
  return source === undefined || destination === undefined ? undefined : Math.max(source, destination);
}

const SCOPE = 'mongoferry';

/**
 * An instrument made at its first use. OpenTelemetry's metrics have no proxies: one that is made before the SDK is
 * started would count nothing for ever, so a new provider means a new instrument.
 */
function lazily<T>(make: (meter: Meter) => T): () => T {
  let provider: unknown;
  let instrument: T | undefined;
  return () => {
    const current = otel.getMeterProvider();
    if (instrument === undefined || provider !== current) {
      provider = current;
      instrument = make(current.getMeter(SCOPE));
    }
    return instrument;
  };
}

function counter<A extends Attributes = Record<never, never>>(
  name: string,
  unit: string,
  description: string,
): Counter<A> {
  const get = lazily<OtelCounter>((meter) => meter.createCounter(name, { unit, description }));
  return { add: (value, ...[attributes]) => get().add(value, attributes) };
}

function histogram<A extends Attributes = Record<never, never>>(
  name: string,
  unit: string,
  description: string,
  buckets: number[],
): Histogram<A> {
  const advice = { explicitBucketBoundaries: buckets };
  const get = lazily<OtelHistogram>((meter) => meter.createHistogram(name, { unit, description, advice }));
  return { record: (value, ...[attributes]) => get().record(value, attributes) };
}

/** mongosync counts the two kinds under two names, not under a label. */
function eventsApplied(): Counter<OneOf<'kind', 'crud' | 'ddl'>> {
  const byKind = {
    crud: counter('mongosync_cea_total_crud_events_applied', '{event}', 'CRUD events applied by this process.'),
    ddl: counter('mongosync_cea_total_ddl_events_applied', '{event}', 'DDL events applied by this process.'),
  };
  return { add: (value, { kind }) => byKind[kind].add(value) };
}
