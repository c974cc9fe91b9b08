/** Starts the doors in a process of their own, to measure what requests cost. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { DoorsPorts, DoorsUsage } from './doors-child.js';
import { within } from './within.js';

const START_MS = 60_000;
const ANSWER_MS = 120_000;

/** The doors in a process of their own, over a fake migration: for what requests cost. Ends with its parent. */
export class DoorsProcess implements AsyncDisposable {
  readonly ports: DoorsPorts;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, ports: DoorsPorts) {
    this.#child = child;
    this.ports = ports;
  }

  /** `maxHandles`: how many files and connections the process may have open. Default: what the system permits. */
  static async start(maxHandles?: number): Promise<DoorsProcess> {
    const program = path.join(import.meta.dirname, 'doors-child.js');
    const limit = `ulimit -n ${maxHandles}; exec "$0" "$@"`;
    const options =
      maxHandles === undefined
        ? { execArgv: ['--expose-gc'] }
        : { execPath: '/bin/sh', execArgv: ['-c', limit, process.execPath, '--expose-gc'] };
    const child = fork(program, options);
    try {
      const [ports] = (await within(START_MS, once(child, 'message'), 'the doors of the process')) as [DoorsPorts];
      return new DoorsProcess(child, ports);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What the process has used, after a garbage collection. */
  async usage(): Promise<DoorsUsage> {
    const answer = once(this.#child, 'message');
    this.#child.send('usage');
    const [usage] = (await within(ANSWER_MS, answer, 'the usage of the process')) as [DoorsUsage];
    return usage;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
