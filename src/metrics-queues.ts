/** Counts for metrics how long bounded queues have been full: see PushBack. */
import { metrics } from './metrics.js';

/** The bounded queues between readers and writers. */
export type QueueName = 'copied documents' | 'change events' | 'documents to verify';

/** What a queue reports of its limit: see PushBack. */
export function queueMeters(queue: QueueName): {
  readonly queue: QueueName;
  readonly onWaited: (ms: number) => void;
  readonly onFull: () => void;
} {
  return {
    queue,
    onWaited: (ms) => metrics.queueWait.add(ms, { queue }),
    onFull: () => metrics.queueFull.add(1, { queue }),
  };
}
