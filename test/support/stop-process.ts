/** Stops a process where it is, and knows when it has stopped. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const STOP_MS = 10_000;
const LOOK_MS = 1;
const cell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Sends SIGSTOP, and returns once none of the process's threads runs any more: until then it may still answer. Blocks this
 * thread meanwhile. Where the system does not tell states of threads it returns at once. Errors: when it does not stop in
 * time.
 */
export function stopProcess(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const began = performance.now();
  while (isRunning(pid)) {
    if (performance.now() - began > STOP_MS) throw new Error(`process ${pid} has not stopped within ${STOP_MS} ms`);
    Atomics.wait(cell, 0, 0, LOOK_MS);
  }
}

function isRunning(pid: number): boolean {
  const threads = `/proc/${pid}/task`;
  return existsSync(threads) && readdirSync(threads).some((thread) => isThreadRunning(`${threads}/${thread}/stat`));
}

/** T: stopped by a signal; t: by a debugger; Z and X: ended. The name before it may hold any character but the last `)`. */
function isThreadRunning(path: string): boolean {
  try {
    const state = /.*\) (\S)/s.exec(readFileSync(path, 'latin1'))?.[1] ?? '';
    return !['T', 't', 'Z', 'X'].includes(state);
  } catch (error) {
    // It ended just now, so others were running just now.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH')
      return true;
    throw error;
  }
}
