/** Serves both doors in a process of their own. */
import { openDoors } from './api-doors.js';

const TICK_MS = 10;

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
  let [last, longest] = [performance.now(), 0];
  setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - TICK_MS);
    last = now;
  }, TICK_MS);
  process.on('message', () => {
    globalThis.gc?.();
    const { user, system } = process.cpuUsage();
    const usage: DoorsUsage = {
      cpuMs: (user + system) / 1000,
      rssBytes: process.memoryUsage().rss,
      stallMs: longest,
    };
    longest = 0;
    process.send?.(usage);
  });
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.send?.({ grpcPort: doors.grpcPort, httpPort: doors.httpPort } satisfies DoorsPorts);
}

if (process.send !== undefined) await serveParent();
