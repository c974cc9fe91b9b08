/** Puts a distance between clients and a real server, and has a double take its writes of documents: the sink. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { within } from '../../test/support/within.js';
import type { FarAnswer, FarOptions, FarOrder, FarReady } from './main.js';

const ANSWER_MS = 20_000;

/**
 * A proxy before one real mongod, in a process of its own, so that its processor time is told apart. Every answer comes
 * some milliseconds later, as from another data centre.
 *
 * As a **sink** it is a double of a destination that is never the limit: it answers inserts, updates and deletes of
 * documents on users' databases by itself, with success, and throws them away. Everything else is the real server's: the
 * catalog, the migration's metadata, leases, reads.
 */
export class FarServer implements AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, { port }: FarReady) {
    this.#child = child;
    this.host = `127.0.0.1:${port}`;
  }

  /** Resolves once it takes connections. */
  static async start(options: FarOptions): Promise<FarServer> {
    const child = fork(path.join(import.meta.dirname, 'main.js'), [JSON.stringify(options)]);
    try {
      const [ready] = (await within(ANSWER_MS, once(child, 'message'), 'the start of a far server')) as [FarReady];
      return new FarServer(child, ready);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Has the sink answer no writes, as a destination that stands still, or answer them again. Resolves once it is so, with
   * how many writes wait for their answers.
   */
  async hold(isHeld: boolean): Promise<number> {
    const answer = once(this.#child, 'message');
    this.#child.send({ hold: isHeld } satisfies FarOrder);
    const [{ held }] = (await within(ANSWER_MS, answer, 'a far server')) as [FarAnswer];
    return held;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
