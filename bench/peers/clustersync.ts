/** Runs Percona ClusterSync for MongoDB, a tool of the same kind written in Go, between two sets. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Timestamp } from 'mongodb';
import { freePort } from '../../test/support/mongod-process.js';
import type { ReplicaSet } from '../../test/support/replica-set.js';
import { eventually } from '../../test/support/within.js';
import { findProgram, RunningProgram } from './programs.js';

const READY_MS = 30_000;
const WAIT_MS = 20 * 60_000;
const LOOK_MS = 15;
/** Of the time that has passed: what is measured shares the processors with who looks. */
const LOOK_SHARE = 1 / 100;

/** What its HTTP interface answers; only what is read here. */
interface Status {
  readonly ok: boolean;
  readonly error?: string;
  readonly state: string;
  readonly lastReplicatedOpTime?: { readonly ts: string };
  readonly initialSync?: { readonly completed: boolean };
}

/** One process of it. */
export class ClusterSync implements AsyncDisposable {
  static readonly what = 'Percona ClusterSync';
  readonly #program: RunningProgram;
  readonly #url: string;

  private constructor(program: RunningProgram, port: number) {
    this.#program = program;
    this.#url = `http://127.0.0.1:${port}`;
  }

  /** `$PCSM`, or the `pcsm` on the PATH; undefined where there is none. */
  static async find(): Promise<string | undefined> {
    return await findProgram('PCSM', 'pcsm', ['version']);
  }

  /** Starts the process; resolves once it is connected to both. */
  static async open(program: string, source: ReplicaSet, destination: ReplicaSet): Promise<ClusterSync> {
    const port = await freePort();
    const args = ['--port', String(port), '--source', source.uri, '--target', destination.uri];
    const sync = new ClusterSync(await RunningProgram.start(program, args, 'ignore'), port);
    try {
      await eventually(READY_MS, () => sync.#ask('GET', 'status'), 'an answer of pcsm');
      return sync;
    } catch (error) {
      await sync[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#program.pid;
  }

  /** The initial sync, until it says that this is complete. */
  async sync(): Promise<void> {
    await this.#ask('POST', 'start');
    await this.#until(({ initialSync }) => initialSync?.completed === true);
  }

  /** Resolves once it stands still. */
  async pause(): Promise<void> {
    await this.#ask('POST', 'pause');
    await this.#until(({ state }) => state === 'paused');
  }

  /** Goes on, until it says that what was written by that time is applied. */
  async resumeUntil(time: Timestamp): Promise<void> {
    await this.#ask('POST', 'resume');
    await this.#until(({ lastReplicatedOpTime }) => timestampOf(lastReplicatedOpTime?.ts).greaterThanOrEqual(time));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }

  async #until(wanted: (status: Status) => boolean): Promise<void> {
    const begin = performance.now();
    for (;;) {
      const status = await this.#ask('GET', 'status');
      if (status.state === 'failed') throw new Error(`pcsm has failed: ${status.error ?? ''}`);
      if (wanted(status)) return;
      const passed = performance.now() - begin;
      if (passed > WAIT_MS) throw new Error('the bench waited for pcsm in vain');
      await sleep(Math.max(LOOK_MS, passed * LOOK_SHARE));
    }
  }

  async #ask(method: 'GET' | 'POST', call: string): Promise<Status> {
    const answer = await fetch(`${this.#url}/${call}`, { method, ...(method === 'POST' && { body: '{}' }) });
    const status = (await answer.json()) as Status;
    if (!status.ok) throw new Error(`pcsm refuses ${call}: ${status.error ?? answer.status}`);
    return status;
  }
}

/** Of `seconds.increment`; 0 before there is one. */
function timestampOf(text = '0.0'): Timestamp {
  const [t = 0, i = 0] = text.split('.').map(Number);
  return new Timestamp({ t, i });
}
