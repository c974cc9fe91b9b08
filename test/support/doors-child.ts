import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openDoors } from './api-doors.js';

/** What the parent is told whenever it asks. */
export interface DoorsUsage {
  /** Of the whole process, in milliseconds. */
  readonly cpuMs: number;
  readonly rssBytes: number;
  /** The longest time since it was last asked that the event loop was held up. */
  readonly stallMs: number;
}

/** The first message: where the doors are. */
export interface DoorsPorts {
  readonly grpcPort: number;
  readonly httpPort: number;
}

/** Both doors over a fake migration, in a process whose use of the machine can be measured. */
async function serveParent(): Promise<void> {
  const doors = await openDoors();
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  process.on('message', () => {
    globalThis.gc?.();
    const { user, system } = process.cpuUsage();
    const usage: DoorsUsage = {
      cpuMs: (user + system) / 1000,
      rssBytes: process.memoryUsage().rss,
      stallMs: delay.max / 1e6,
    };
    delay.reset();
    process.send?.(usage);
  });
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.send?.({ grpcPort: doors.grpcPort, httpPort: doors.httpPort } satisfies DoorsPorts);
}

if (process.send !== undefined) await serveParent();
