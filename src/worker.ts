/** Runs a thread of a server: carries out the tasks that the thread was started for. */
import { parentPort, workerData } from 'node:worker_threads';
import { InvariantError } from './errors.js';
import { ThreadChannel } from './lib/thread-channel.js';
import type { ThreadData, ThreadUse } from './threads/thread-calls.js';
import { serveThread, type ThreadParts } from './threads/thread-clusters.js';
import { threadErrors } from './threads/thread-errors.js';

/** Each loads only its own modules. */
const USES: Readonly<Record<ThreadUse, (parts: ThreadParts) => Promise<void>>> = {
  compare: async (parts) => (await import('./matching/scan-worker.js')).serveScans(parts),
  copy: async (parts) => (await import('./copy/copy-worker.js')).serveCopies(parts),
  apply: async (parts) => (await import('./apply/apply-worker.js')).serveApplications(parts),
};

/** The thread's whole life: it serves calls until it is told to close. */
export function runWorker(): void {
  const port = parentPort;
  if (port === null) throw new InvariantError('a worker runs in a thread of its own');
  const data = workerData as ThreadData;
  const channel = new ThreadChannel(port, threadErrors);
  const prepare = async (parts: ThreadParts): Promise<void> => {
    for (const use of data.uses) await USES[use](parts);
  };
  serveThread(channel, data, prepare, () => port.close());
}
