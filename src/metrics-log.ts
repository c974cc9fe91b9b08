/** Writes the metrics' file that mongosync's tools read. */
import { logTime } from './lib/log-time.js';
import type { LogSink } from './lib/logger.js';

const EVERY_MS = 30_000;

/** What the metrics' file is written from. */
export interface MetricsLogOptions {
  readonly sink: LogSink;
  readonly instanceId: string;
  /** Prometheus text. */
  readonly metricsText: () => Promise<string>;
  readonly onError: (error: unknown) => void;
}

/**
 * Writes all metrics as one JSON line now and then, in the form of mongosync's `mongosync_metrics.log`: `time`, `level`
 * and the text as `message`, without its comments. Returns the way to stop, which writes a last line.
 */
export function logMetrics({ sink, instanceId, metricsText, onError }: MetricsLogOptions): () => Promise<void> {
  let writing = Promise.resolve();
  const write = (): Promise<void> => {
    writing = writing
      .then(async () => {
        const lines = (await metricsText()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
        const head = { time: logTime(new Date()), level: 'info', mongosyncID: instanceId, pid: process.pid };
        sink.write(`${JSON.stringify({ ...head, message: `${lines.join('\n')}\n` })}\n`);
      })
      .catch(onError);
    return writing;
  };
  void write();
  const timer = setInterval(() => void write(), EVERY_MS);
  return async () => {
    clearInterval(timer);
    await write();
  };
}
