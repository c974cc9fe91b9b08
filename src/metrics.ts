/**
 * Declares every metric of the process, with its unit and description. A name that starts with `mongosync_` is mongosync's
 * own and means the same, so that dashboards made for it go on working; the others start with `mongoferry_`.
 * Source: docs/operations.md, "Metrics".
 */
import { cpus, freemem, totalmem } from 'node:os';
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

/** What a command does, for its label: names would be too many. */
export type CommandKind = 'read' | 'write' | 'other';

const KINDS: ReadonlyMap<string, CommandKind> = new Map([
  ...['find', 'getMore', 'aggregate', 'count', 'distinct'].map((name) => [name, 'read'] as const),
  ...['insert', 'update', 'delete', 'findAndModify', 'bulkWrite'].map((name) => [name, 'write'] as const),
]);

/** The kind of the command of that name. */
export function commandKind(name: string): CommandKind {
  return KINDS.get(name) ?? 'other';
}

type OneOf<K extends string, V extends string = string> = Readonly<Record<K, V>>;

const MS_BUCKETS = [1, 5, 10, 20, 50, 100, 500, 1000, 5000, 30_000];
/** Of instruments with labels, each combination of which has them all. */
const FEW_MS_BUCKETS = [10, 100, 1000, 10_000];
const LONG_MS_BUCKETS = [100, 1000, 10_000, 60_000, 600_000, 3_600_000];
const COUNT_BUCKETS = [1, 10, 100, 1000, 10_000, 100_000];
const BYTE_BUCKETS = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/** What the stages have taken since the last look. */
const STAGES = new Map<Stage, { sumMs: number; maxMs: number; count: number }>();

/** One value that was added or recorded, as plain data. */
export interface MetricRecord {
  readonly name: string;
  readonly value: number;
  readonly attributes: Readonly<Record<string, string>> | undefined;
}

type AddTo = (value: number, attributes?: Attributes) => void;

/** What adds to each instrument of this thread, by its name. */
const RECORDERS = new Map<string, AddTo>();
let forward: ((record: MetricRecord) => void) | undefined;

/** From now on this thread's values go to `to`: the instruments are the main thread's. */
export function forwardMetrics(to: (record: MetricRecord) => void): void {
  forward = to;
}

/** Adds what a thread has forwarded. */
export function recordForwarded({ name, value, attributes }: MetricRecord): void {
  RECORDERS.get(name)?.(value, attributes);
}

/** The instruments that code adds to where the thing happens. Cheap, and safe before telemetry is started. */
export const metrics = {
  // The copy.
  copiedBytes: counter('mongosync_collection_copy_copied_bytes_count', 'By', 'Bytes of documents written by the copy.'),
  documentsCopied: counter(
    'mongosync_collection_copy_copied_docs_count',
    '{document}',
    'Documents written by the copy.',
  ),
  documentsInserted: counter(
    'mongosync_bulk_inserter_docs_inserted_count',
    '{document}',
    'Documents that the destination has taken from the copy.',
  ),
  bytesInserted: counter(
    'mongosync_bulk_inserter_bytes_inserted_count',
    'By',
    'Bytes of documents that the destination has taken from the copy.',
  ),
  partitionSize: histogram(
    'mongosync_collection_copy_partition_size',
    'By',
    'Bytes of documents in one partition, as it was copied.',
    BYTE_BUCKETS,
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
  copyReadDuration: stage(
    'CollectionCopySourceRead',
    'mongosync_collection_copy_source_read_op_duration',
    'Time of one read of the copy.',
  ),
  copyBatchDuration: stage(
    'CollectionCopyDestinationWrite',
    'mongosync_collection_copy_destination_write_op_duration',
    'Time to write one batch of the copy.',
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
    'Change events read from the source in order to apply them.',
  ),
  eventBytesRead: counter(
    'mongosync_cea_change_stream_reader_bytes_read',
    'By',
    'Bytes of change events read from the source in order to apply them.',
  ),
  eventsApplied: eventsApplied(),
  applyReadDuration: stage(
    'CEASourceRead',
    'mongosync_cea_source_read_op_duration',
    'Time of one read of the change stream, waiting for events included.',
  ),
  applyBatchDuration: stage(
    'CEADestinationWrite',
    'mongosync_cea_destination_write_op_duration',
    'Time to write one batch of change events.',
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
    'Time to read one document again: the average of those read together.',
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
    'verifier_initial_hasher_docs_hashed',
    '{document}',
    'Documents read by the initial hashing.',
  ),
  rechecks: counter('mongoferry_verifier_rechecks', '{document}', 'Documents compared again.'),
  mismatches: counter('mongoferry_verifier_mismatches', '{document}', 'Documents found to differ for good.'),

  // Both.
  commandDuration: histogram<{ readonly cluster: string; readonly kind: CommandKind }>(
    'mongoferry_command_duration',
    'ms',
    'Time of one command on a cluster.',
    FEW_MS_BUCKETS,
  ),
  sourcePing: histogram('mongosync_src_ping_latency', 'ms', 'Time of a ping of the source.', MS_BUCKETS),
  destinationPing: histogram('mongosync_dst_ping_latency', 'ms', 'Time of a ping of the destination.', MS_BUCKETS),
  retries: counter<OneOf<'operation'>>(
    'mongosync_retry_count',
    '{retry}',
    'Operations tried again after a transient error.',
  ),
  indexesCreated: counter('mongosync_index_checker_service_created_count', '{index}', 'Indexes built.'),
  createIndexesDuration: histogram(
    'mongosync_index_checker_service_create_indexes_duration',
    'ms',
    'Time of one createIndexes command, which builds all missing indexes of a collection.',
    LONG_MS_BUCKETS,
  ),
  indexBuilds: counter<OneOf<'outcome', 'built' | 'failed' | 'cancelled'>>(
    'mongoferry_index_builds',
    '{index}',
    'Index builds by how they ended.',
  ),

  queueWait: counter<OneOf<'queue'>>(
    'mongoferry_queue_wait',
    'ms',
    'Time for which writers waited for room in a bounded queue, summed over all writers.',
  ),
  queueFull: counter<OneOf<'queue'>>(
    'mongoferry_queue_full',
    '{time}',
    'How often a bounded queue was full for five seconds or more.',
  ),

  // The front doors.
  requestDuration: histogram<OneOf<'door' | 'method' | 'code'>>(
    'mongoferry_request_duration',
    'ms',
    'Time of one call by gRPC or HTTP.',
    FEW_MS_BUCKETS,
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
  readonly sourceUnavailable: boolean;
  readonly destinationUnavailable: boolean;
  readonly queuedBytes: number;
  readonly verification: Readonly<Record<'source' | 'destination', VerifiedSide>> | undefined;
}

interface VerifiedSide {
  readonly lagSeconds: number | undefined;
  readonly hashedDocuments: number;
  readonly estimatedDocuments: number;
  readonly scannedCollections: number;
}

/** The values of `info` (docs/api.md, progress). */
const PHASES = ['collection copy', 'change event application', 'waiting for commit to complete', 'commit completed'];

/**
 * Registers the gauges that are read from a snapshot at every collection. Call after telemetry is started; returns the
 * way to unregister. `states` are all states a migration can be in: the current one is 1, the others 0.
 */
export function observeMigration(states: readonly string[], snapshot: () => GaugeSource): () => void {
  const meter = otel.getMeterProvider().getMeter(SCOPE);
  const gauges = makeGauges(meter);
  const cpu = new CpuUsage();
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
    put('sourceUnavailable', now.sourceUnavailable ? 1 : 0);
    put('destinationUnavailable', now.destinationUnavailable ? 1 : 0);
    const { source, destination } = now.verification ?? {};
    put('verifierLag', verifierLagOf(now));
    put('hashed', source && destination && source.hashedDocuments + destination.hashedDocuments);
    put('toHash', source && destination && source.estimatedDocuments + destination.estimatedDocuments);
    put('scanned', source?.scannedCollections);
    put('queued', now.queuedBytes);
    put('hostCpu', cpu.usedPercent());
    put('hostMemory', (1 - freemem() / totalmem()) * 100);
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

function makeGauges(meter: Meter) {
  const gauge = (name: string, unit: string, description: string) =>
    meter.createObservableGauge(name, { unit, description });
  return {
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
    sourceUnavailable: gauge('mongosync_src_unavailable', '1', '1 while the source does not answer.'),
    destinationUnavailable: gauge('mongosync_dst_unavailable', '1', '1 while the destination does not answer.'),
    verifierLag: gauge(
      'verifier_lag_time',
      's',
      'Newest time of a cluster minus newest time compared, of the side that is further behind.',
    ),
    hashed: gauge('verifier_auditor_num_docs_hashed', '{document}', 'Documents of both sides that are compared.'),
    toHash: gauge(
      'verifier_auditor_estimated_docs_count',
      '{document}',
      'Documents of both sides to compare, by estimate.',
    ),
    scanned: gauge(
      'verifier_auditor_scanned_collection_count',
      '{collection}',
      'Collections whose documents have all been compared once.',
    ),
    hostCpu: gauge('mongosync_host_cpu_usage', '%', 'CPU time of this host that was not idle since the last look.'),
    hostMemory: gauge('mongosync_host_memory_percent_used', '%', 'Memory of this host that is in use.'),
    queued: gauge('mongoferry_queued_bytes', 'By', 'Bytes in the queues between readers and writers.'),
  };
}

const CPU_LOOK_MS = 1000;

/** How busy all processors of the host are between two looks, whoever looks; at least a second lies between them. */
class CpuUsage {
  #last = cpuTimes();
  #percent: number | undefined;

  /** Undefined in the first second. */
  usedPercent(): number | undefined {
    const now = cpuTimes();
    const all = now.all - this.#last.all;
    if (all < CPU_LOOK_MS * cpus().length) return this.#percent;
    this.#percent = (1 - (now.idle - this.#last.idle) / all) * 100;
    this.#last = now;
    return this.#percent;
  }
}

function cpuTimes(): { readonly all: number; readonly idle: number } {
  const times = cpus().map((each) => each.times);
  const idle = times.reduce((sum, each) => sum + each.idle, 0);
  return { idle, all: times.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, idle) };
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
  return { add: recorder(name, (value, attributes) => get().add(value, attributes)) };
}

function histogram<A extends Attributes = Record<never, never>>(
  name: string,
  unit: string,
  description: string,
  buckets: number[],
): Histogram<A> {
  const advice = { explicitBucketBoundaries: buckets };
  const get = lazily<OtelHistogram>((meter) => meter.createHistogram(name, { unit, description, advice }));
  return { record: recorder(name, (value, attributes) => get().record(value, attributes)) };
}

/** Adds in this thread, or hands on what is added. */
function recorder(name: string, own: AddTo): AddTo {
  RECORDERS.set(name, own);
  return (value, attributes) => {
    if (forward === undefined) own(value, attributes);
    else forward({ name, value, attributes: attributes as MetricRecord['attributes'] });
  };
}

/** The four stages whose times mongosync logs. */
export type Stage =
  | 'CollectionCopySourceRead'
  | 'CollectionCopyDestinationWrite'
  | 'CEASourceRead'
  | 'CEADestinationWrite';

/** The operations of one stage since the last look, in mongosync's names. */
export interface StageStats {
  readonly averageDurationMs: number;
  readonly maximumDurationMs: number;
  readonly numOperations: number;
}

/** The times of every stage since the last call. */
export function takeStageStats(): Readonly<Record<Stage, StageStats>> {
  const entries = [...STAGES].map(([name, { sumMs, maxMs, count }]): [Stage, StageStats] => {
    const averageDurationMs = count === 0 ? 0 : round(sumMs / count);
    return [name, { averageDurationMs, maximumDurationMs: round(maxMs), numOperations: count }];
  });
  for (const name of STAGES.keys()) STAGES.set(name, { sumMs: 0, maxMs: 0, count: 0 });
  return Object.fromEntries(entries) as Record<Stage, StageStats>;
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** A histogram whose values are also summed up for the log. */
function stage(name: Stage, metric: string, description: string): Histogram {
  const { record } = histogram(metric, 'ms', description, MS_BUCKETS);
  STAGES.set(name, { sumMs: 0, maxMs: 0, count: 0 });
  const counted = (ms: number): void => {
    const stats = STAGES.get(name);
    if (stats !== undefined) {
      stats.sumMs += ms;
      stats.maxMs = Math.max(stats.maxMs, ms);
      stats.count++;
    }
    record(ms);
  };
  RECORDERS.set(metric, counted);
  return { record: counted };
}

/** mongosync counts the two kinds under two names, not under a label. */
function eventsApplied(): Counter<OneOf<'kind', 'crud' | 'ddl'>> {
  const byKind = {
    crud: counter('mongosync_cea_total_crud_events_applied', '{event}', 'CRUD events applied by this process.'),
    ddl: counter('mongosync_cea_total_ddl_events_applied', '{event}', 'DDL events applied by this process.'),
  };
  return { add: (value, { kind }) => byKind[kind].add(value) };
}
