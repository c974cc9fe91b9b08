/** Starts the worker threads of a run, where the operator has asked for some. */
import { STATE_GONE } from '../apply/apply-worker.js';
import { WriterThreads } from '../threads/writer-threads.js';
import type { RunContext } from './run-context.js';

/** Of one thread: a lane may have several commands under way. */
const LEAST_CONNECTIONS = 8;

/**
 * Threads that copy and apply for this run; undefined where the main thread does: none are wanted, or the destination
 * does not refuse late writes by their numbers, without which a thread that ends could leave some behind.
 */
export function makeThreads(context: RunContext): WriterThreads | undefined {
  const { source, destination, held, record, load, logger, workerThreads: count, listener, filter, indexes } = context;
  if (count === 0 || !destination.isAtLeast(6)) return undefined;
  return new WriterThreads({
    count,
    source,
    destination,
    numbersDb: held.store.db,
    lease: held.lease.threads,
    logger: logger.component('worker'),
    filter: filter?.spec,
    removeIndexes: (target, signal) => indexes.remove(target.uuid, signal),
    serve: (channel) =>
      channel.serve(STATE_GONE, (_task, { signal }) => record.update({ readPastCommit: true }, signal)),
    maxPoolSize: Math.max(LEAST_CONNECTIONS, Math.floor(load.connections / count)),
    bufferBytes: Math.ceil(load.copyBytes / count),
    onWarning: (warning) => listener.warn(warning),
  });
}
