/** Serves the standard gRPC health service, for probes and load balancers. */
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthListResponse,
  type HealthServer,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../../../gen/grpc/health/v1/health.js';
import type { MigrationControl } from '../../progress/control.js';
import { syncService } from '../descriptors.js';

/** How often a watched status is looked at besides the migration's own changes, in milliseconds. */
const WATCH_INTERVAL_MS = 1000;

/** What the health service needs to know. */
export interface HealthSource {
  readonly control: MigrationControl;
  /** Aborts when the server begins to stop: nothing is serving from then on. */
  readonly shutdown: AbortSignal;
}

/**
 * The standard health service: SERVING for the server ("") and for SyncService while the migration is ready. The
 * status is read when it is asked for, so that it cannot be stale. Source: grpc.health.v1.
 */
export function healthHandlers(source: HealthSource): HealthServer {
  return {
    check: (call, callback) => answerCheck(source, call, callback),
    list: (_call, callback) => callback(null, listAll(source)),
    watch: (call) => watch(source, call),
  };
}

const SERVICES: readonly string[] = ['', syncService.typeName];

function currentStatus({ control, shutdown }: HealthSource): ServingStatus {
  return control.ready && !shutdown.aborted ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
}

function answerCheck(
  source: HealthSource,
  call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>,
  callback: sendUnaryData<HealthCheckResponse>,
): void {
  if (SERVICES.includes(call.request.service)) callback(null, { status: currentStatus(source) });
  else callback({ code: status.NOT_FOUND, details: `this server has no service "${call.request.service}"` });
}

function listAll(source: HealthSource): HealthListResponse {
  return { statuses: Object.fromEntries(SERVICES.map((name) => [name, { status: currentStatus(source) }])) };
}

/** Sends the status at once and at every change, until the watcher goes away or the server stops. */
function watch(source: HealthSource, call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>): void {
  const isKnown = SERVICES.includes(call.request.service);
  let sent: ServingStatus | undefined;
  const look = (): void => {
    const now = isKnown ? currentStatus(source) : ServingStatus.SERVICE_UNKNOWN;
    // A reader that takes nothing is told the newest status once it does.
    if (now === sent || call.writableNeedDrain) return;
    call.write({ status: now });
    sent = now;
  };
  const unsubscribe = source.control.onChange(look);
  const timer = setInterval(look, WATCH_INTERVAL_MS);
  const stop = (): void => {
    clearInterval(timer);
    unsubscribe();
    source.shutdown.removeEventListener('abort', onShutdown);
    call.end();
  };
  const onShutdown = (): void => {
    look();
    stop();
  };
  source.shutdown.addEventListener('abort', onShutdown);
  call.on('cancelled', stop);
  look();
}
