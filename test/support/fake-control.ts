/** Stands in for a migration behind the doors. */
import { AppError, type FieldViolation } from '../../src/errors.js';
import { type MigrationEvent, statesAccepting, TRANSITIONS } from '../../src/metadata/state.js';
import type { Migration } from '../../src/migration/migration.js';
import type { Finding } from '../../src/preflight/finding.js';
import type {
  MigrationControl,
  Mismatch,
  NamespaceSnapshot,
  RepairOutcome,
  Snapshot,
} from '../../src/progress/control.js';
import { resolveStartOptions, type StartOptions } from '../../src/start/options.js';

/** A snapshot with nothing known: a migration that has not been started. */
export const IDLE_SNAPSHOT: Snapshot = {
  state: 'IDLE',
  canCommit: false,
  commitObstacle: undefined,
  canWrite: false,
  info: undefined,
  ceaStage: undefined,
  lag: undefined,
  totalEventsApplied: undefined,
  copy: undefined,
  indexBuilding: undefined,
  direction: undefined,
  sourcePingMs: undefined,
  destinationPingMs: undefined,
  sourceUnavailable: false,
  destinationUnavailable: false,
  oplogTimeRemaining: undefined,
  secondsToCatchup: undefined,
  instanceId: 'coordinator',
  coordinatorId: 'coordinator',
  verification: undefined,
  warnings: [],
  rates: { documentsPerSecond: 0, bytesPerSecond: 0, eventsPerSecond: 0 },
  copyRemainingSeconds: undefined,
  failure: undefined,
  reversible: false,
  startedAt: new Date('2026-01-02T03:04:05.678Z'),
  queuedBytes: 0,
  retries: 0,
};

/** A migration that is copying. */
export const RUNNING_SNAPSHOT: Snapshot = {
  ...IDLE_SNAPSHOT,
  state: 'RUNNING',
  commitObstacle: 'the collection copy is not complete',
  info: 'collection copy',
  copy: { totalBytes: 9_000_000_000_000, copiedBytes: 4_500_000_000_000 },
  direction: { source: 'cluster0: source.example:27017', destination: 'cluster1: destination.example:27017' },
  sourcePingMs: 12,
  destinationPingMs: -1,
};

/** How the fake's calls were called. */
export interface RecordedCall {
  readonly name: MigrationEvent | 'check';
  readonly options?: StartOptions;
}

/**
 * A migration that does what the test tells it: it follows the table of states, and nothing happens by itself.
 * `set` changes what it says of itself, `failWith` makes every call but the reading ones reject.
 */
export class FakeControl implements MigrationControl {
  readonly calls: RecordedCall[] = [];
  readonly #listeners = new Set<() => void>();
  ready = true;
  unreadiness: string | undefined;
  findings: readonly Finding[] = [];
  badRegexes: readonly FieldViolation[] = [];
  namespaceList: readonly NamespaceSnapshot[] = [];
  mismatchList: readonly Mismatch[] = [];
  failWith: unknown;
  /** What a call waits for before it does anything. */
  gate: Promise<void> = Promise.resolve();
  #snapshot: Snapshot;
  /** How often a snapshot was taken. */
  snapshots = 0;

  constructor(snapshot: Snapshot = IDLE_SNAPSHOT) {
    this.#snapshot = snapshot;
  }

  /** How many listeners would hear of a change. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Changes the snapshot and tells every listener. */
  set(change: Partial<Snapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }

  snapshot(): Snapshot {
    this.snapshots++;
    return this.#snapshot;
  }

  namespaces(): readonly NamespaceSnapshot[] {
    return this.namespaceList;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async regexViolations(): Promise<readonly FieldViolation[]> {
    return this.badRegexes;
  }

  async start(options: StartOptions): Promise<void> {
    await this.#enter({ name: 'start', options });
    resolveStartOptions(options);
    this.#move('start');
  }

  pause(): Promise<void> {
    return this.#call('pause');
  }

  resume(): Promise<void> {
    return this.#call('resume');
  }

  commit(): Promise<void> {
    return this.#call('commit');
  }

  async mismatches(): Promise<readonly Mismatch[]> {
    return this.mismatchList;
  }

  async repair(ids: readonly string[]): Promise<RepairOutcome> {
    return { repaired: ids.length, remaining: this.mismatchList.length };
  }

  reverse(): Promise<void> {
    return this.#call('reverse');
  }

  async check(options: StartOptions): Promise<readonly Finding[]> {
    await this.#enter({ name: 'check', options });
    return this.findings;
  }

  async #call(name: MigrationEvent): Promise<void> {
    await this.#enter({ name });
    this.#move(name);
  }

  async #enter(call: RecordedCall): Promise<void> {
    this.calls.push(call);
    await this.gate;
    if (this.failWith !== undefined) throw this.failWith;
  }

  #move(event: MigrationEvent): void {
    const { state } = this.#snapshot;
    const next = TRANSITIONS[state][event];
    if (next === undefined) {
      const needed = statesAccepting(event).join(' or ');
      throw new AppError('InvalidStateTransition', `${event} is not permitted in ${state}; it needs ${needed}`, {
        metadata: { state, needed },
      });
    }
    this.set({ state: next });
  }
}

/** As `FakeControl`, with a run that the test gives. */
export class FakeMigration extends FakeControl implements Migration {
  readonly run: Migration['run'];

  constructor(run: Migration['run'], snapshot: Snapshot = IDLE_SNAPSHOT) {
    super(snapshot);
    this.run = run;
  }
}

/** A namespace with `bytesLeft` bytes left to copy. */
export function fakeNamespace(namespace: string, bytesLeft: number): NamespaceSnapshot {
  return {
    namespace,
    documentsCopied: 10,
    estimatedDocuments: 10 + bytesLeft,
    bytesCopied: 1000,
    estimatedBytes: 1000 + bytesLeft,
    partitionsDone: 1,
    partitionsTotal: 2,
    indexesBuilt: 0,
    indexesTotal: 3,
    documentsHashed: 4,
    mismatchCount: 0,
  };
}
