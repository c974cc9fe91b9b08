/** A migration that is measured: the process, its client, and the processor time of all that take part. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { NamespaceDetails } from '../gen/mongoferry/v1/sync_service.js';
import { cpuSeconds } from '../test/support/cpu-seconds.js';
import { FerryClient } from '../test/support/ferry-client.js';
import { FerryProcess } from '../test/support/ferry-process.js';
import type { ReplicaSet } from '../test/support/replica-set.js';
import { type Cpu, timed } from './figures.js';

const WAIT_MS = 40 * 60_000;
/** Between two looks, in milliseconds; and of the time that has passed: to look takes time of the processors measured. */
const LOOK_MS = 15;
const LOOK_SHARE = 1 / 100;
/** While much is left: of what is left by the progress so far, and at most of the time that has passed. */
const LEFT_SHARE = 1 / 4;
const FAR_SHARE = 1 / 20;

type Snapshot = Awaited<ReturnType<FerryClient['progress']>>;

/** What an initial sync took, from the call of start until a commit would succeed. */
export interface Synced {
  readonly seconds: number;
  readonly cpu: Cpu;
  readonly memoryMiB: number;
}

/** mongoferry between two sets of one member each. */
export class Migration implements AsyncDisposable {
  readonly ferry: FerryProcess;
  readonly client: FerryClient;
  readonly #source: ReplicaSet;
  readonly #destination: ReplicaSet;

  private constructor(ferry: FerryProcess, source: ReplicaSet, destination: ReplicaSet) {
    this.ferry = ferry;
    this.client = new FerryClient(ferry.grpcTarget);
    this.#source = source;
    this.#destination = destination;
  }

  /** Starts the process; resolves once it has connected to both. */
  static async open(source: ReplicaSet, destination: ReplicaSet, flags: readonly string[] = []): Promise<Migration> {
    const ferry = await FerryProcess.start({ cluster0: source.uri, cluster1: destination.uri, flags });
    const migration = new Migration(ferry, source, destination);
    await migration.client.waitUntilInitialized();
    return migration;
  }

  /** What `work` takes of the clock and of processors. */
  async measure<T>(work: () => Promise<T>): Promise<{ seconds: number; cpu: Cpu; result: T }> {
    const before = this.#cpu();
    const { seconds, result } = await timed(work);
    const after = this.#cpu();
    const cpu = {
      own: after.own - before.own,
      source: after.source - before.source,
      destination: after.destination - before.destination,
    };
    return { seconds, cpu, result };
  }

  /** The initial sync, until a commit would succeed. */
  async sync(enabled: boolean): Promise<Synced> {
    const { seconds, cpu } = await this.measure(async () => {
      await this.client.start({ verification: { enabled } });
      await this.until(({ canCommit }) => canCommit, copiedShare);
    });
    return { seconds, cpu, memoryMiB: this.peakMemoryMiB() };
  }

  /**
   * As FerryClient.waitFor, looking more often: what is measured may take less than its 50 ms. `share`: how much of the work
   * a snapshot shows to be done, from 0 to 1; while much is left, it is looked at less often.
   */
  async until(wanted: (snapshot: Snapshot) => boolean, share: (snapshot: Snapshot) => number = () => 0): Promise<void> {
    const begin = performance.now();
    for (;;) {
      const snapshot = await this.client.progress(NamespaceDetails.NONE);
      if (snapshot.details?.failure !== undefined) throw new Error(snapshot.details.failure.errorDescription);
      if (wanted(snapshot)) return;
      const passed = performance.now() - begin;
      if (passed > WAIT_MS) throw new Error('the bench waited in vain');
      const done = share(snapshot);
      const left = done > 0 ? (passed * (1 - done)) / done : 0;
      await sleep(Math.max(LOOK_MS, passed * LOOK_SHARE, Math.min(passed * FAR_SHARE, left * LEFT_SHARE)));
    }
  }

  /** As {@link peakMemoryMiB}, of mongoferry. */
  peakMemoryMiB(): number {
    return peakMemoryMiB(this.ferry.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.ferry[Symbol.asyncDispose]();
  }

  #cpu(): Cpu {
    const of = (set: ReplicaSet) => cpuSeconds(set.members[0]?.pid ?? 0);
    return { own: cpuSeconds(this.ferry.pid), source: of(this.#source), destination: of(this.#destination) };
  }
}

/** The most memory that the process ever had resident (VmHWM), in MiB; NaN where the system does not tell. */
export function peakMemoryMiB(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
  } catch (error) {
    // Only Linux has this file.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Number.NaN;
    throw error;
  }
}

function copiedShare({ collectionCopy }: Snapshot): number {
  const { estimatedCopiedBytes = 0, estimatedTotalBytes = 0 } = collectionCopy ?? {};
  return estimatedTotalBytes > 0 ? Math.min(1, estimatedCopiedBytes / estimatedTotalBytes) : 0;
}
