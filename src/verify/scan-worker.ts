/** Scans ranges for the verifier in a thread of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import { Cluster } from '../cluster/cluster.js';
import { mayConnectLater } from '../cluster/connect-errors.js';
import { clusterError, safeText } from '../cluster/errors.js';
import { AppError, InvariantError } from '../errors.js';
import { retry } from '../lib/backoff.js';
import { createLogger } from '../lib/logger.js';
import { LocalRangeScanner, type RangeScan } from './range-scanner.js';

/** What the thread is started with. Connection strings hold passwords; they never leave the process. */
export interface ScanWorkerData {
  readonly source: { readonly name: string; readonly uri: string };
  readonly destination: { readonly name: string; readonly uri: string };
  readonly maxPoolSize: number;
}

/** To the thread. `continue` answers `differing`. */
export type ToScanWorker =
  | { readonly type: 'scan'; readonly id: number; readonly scan: RangeScan }
  | { readonly type: 'abort' | 'continue'; readonly id: number }
  | { readonly type: 'close' };

/** From the thread. Ids are raw `{_id: …}`. */
export type FromScanWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'unconnected'; readonly code: AppError['code']; readonly message: string }
  | { readonly type: 'warning'; readonly text: string }
  | { readonly type: 'read'; readonly id: number; readonly source: number; readonly destination: number }
  | { readonly type: 'differing'; readonly id: number; readonly ids: Uint8Array[] }
  | { readonly type: 'done'; readonly id: number; readonly outcome: 'compared' | 'moved' }
  | { readonly type: 'failed'; readonly id: number; readonly code: AppError['code']; readonly message: string };

interface Running {
  readonly controller: AbortController;
  proceed: () => void;
}

/** The thread's whole life: connects, compares the ranges it is given, and ends when it is told to. */
export async function runScanWorker(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new InvariantError('a scan worker runs in a thread of its own');
  const tell = (message: FromScanWorker): void => port.postMessage(message);
  const { source, destination, maxPoolSize } = workerData as ScanWorkerData;
  const sink = { write: (text: string) => tell({ type: 'warning', text }) };
  const logger = createLogger({ level: 'WARN', mongosyncId: 'scan', sink });
  const closing = new AbortController();
  const clusters: Cluster[] = [];
  const close = (): void => {
    closing.abort(new AppError('ShuttingDown', 'the thread was closed'));
    void Promise.all(clusters.map((each) => each.close())).then(() => port.close());
  };
  const running = new Map<number, Running>();
  let scanner: LocalRangeScanner | undefined;
  port.on('message', (message: ToScanWorker) => {
    if (message.type === 'scan') {
      if (scanner !== undefined) void scanOne(scanner, message, running, tell);
    } else if (message.type === 'continue') running.get(message.id)?.proceed();
    else if (message.type === 'abort')
      running.get(message.id)?.controller.abort(new AppError('ShuttingDown', 'the scan was stopped'));
    else close();
  });
  // As everywhere else, an election is waited for.
  const connect = async (side: { name: string; uri: string }): Promise<Cluster> => {
    const connected = await retry(() => Cluster.connect({ ...side, logger, maxPoolSize }), {
      isRetryable: mayConnectLater,
      signal: closing.signal,
      onRetry: ({ error, level }) => logger[level](`Connecting to ${side.name} again: ${safeText(error)}`),
    });
    clusters.push(connected);
    return connected;
  };
  try {
    scanner = new LocalRangeScanner({ source: await connect(source), destination: await connect(destination) });
    tell({ type: 'ready' });
  } catch (error) {
    const { code, message } = clusterError(error, 'connecting to compare documents');
    tell({ type: 'unconnected', code, message });
  }
}

async function scanOne(
  scanner: LocalRangeScanner,
  { id, scan }: { readonly id: number; readonly scan: RangeScan },
  running: Map<number, Running>,
  tell: (message: FromScanWorker) => void,
): Promise<void> {
  const own: Running = { controller: new AbortController(), proceed: () => undefined };
  running.set(id, own);
  const events = {
    onRead: (source: number, destination: number) => tell({ type: 'read', id, source, destination }),
    onDiffering: async (ids: Buffer[]) => {
      const told = new Promise<void>((resolve, reject) => {
        own.proceed = resolve;
        own.controller.signal.addEventListener('abort', () => reject(own.controller.signal.reason), { once: true });
      });
      tell({ type: 'differing', id, ids: ids.map((each) => Uint8Array.from(each)) });
      await told;
    },
  };
  try {
    tell({ type: 'done', id, outcome: await scanner.scan(scan, events, own.controller.signal) });
  } catch (error) {
    const { code, message } = clusterError(error, 'comparing documents');
    tell({ type: 'failed', id, code, message });
  } finally {
    running.delete(id);
  }
}
