/** Answers calls and progress in an instance that helps another one. */
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import type { Helper } from '../instances/helper.js';
import type { GatheredEvent } from '../instances/records.js';
import type { Logger } from '../lib/logger.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { linkAbort, unlessAborted } from '../lib/signals.js';
import type { State } from '../metadata/state.js';
import type { Mismatch, NamespaceSnapshot, Snapshot } from '../progress/control.js';
import { readMismatches } from '../progress/mismatch-list.js';
import type { Health } from '../progress/monitor.js';
import { takeSnapshot } from '../progress/snapshot.js';
import { completeOptions, resolveStartOptions, type StartOptions } from '../start/options.js';
import { ChangedPlaces, type HelpedMigration } from './helped.js';
import type { ToldStatus } from './instance-view.js';
import { nextState } from './machine.js';
import { refuseToStartAgain } from './start-again.js';

/** What it needs of the process it belongs to. */
export interface HelpingHost {
  readonly config: { readonly instanceId: string; readonly coordinated?: boolean };
  readonly clusters: readonly Cluster[];
  /** The metadata database. */
  readonly db: string;
  readonly logger: Logger;
  readonly reporter: { readonly health: Health; changed(): void };
  /** The process's. */
  readonly signal: AbortSignal;
}

const QUIET_MS = 5000;

/**
 * Calls in an instance that helps. `start` is compared with the options that the migration has; pause and resume are
 * this instance's alone; commit and reverse are stored until every instance has them.
 */
export class Helping implements HelpedMigration {
  readonly #process: HelpingHost;
  readonly #helper: Helper;
  readonly #coordinator: string;
  readonly #turns = new SerialQueue();
  readonly #end: ReturnType<typeof linkAbort>;

  /** `coordinator`: who it was when this instance found the migration. */
  constructor(process: HelpingHost, helper: Helper, coordinator: string) {
    this.#process = process;
    this.#helper = helper;
    this.#coordinator = coordinator;
    this.#end = linkAbort(process.signal);
  }

  /** This instance helps no more; calls under way end with ChangedPlaces. */
  end(): void {
    this.#end.abort(new ChangedPlaces('this instance helps no more'));
    this.#end.dispose();
  }

  /** What the coordinator tells, with what is this instance's own. */
  snapshot(): Snapshot {
    const told = this.#told?.snapshot ?? this.#untold();
    const { instanceId } = this.#process.config;
    const { state } = this;
    const isStopped = state === 'PAUSED';
    return {
      ...told,
      instanceId,
      state,
      canCommit: told.canCommit && !isStopped,
      warnings: [...told.warnings, ...this.#warnings],
    };
  }

  namespaces(): readonly NamespaceSnapshot[] {
    const rows = this.#told?.namespaces ?? [];
    return [...rows].sort((a, b) => (a.namespace < b.namespace ? -1 : 1));
  }

  get state(): State {
    const state = this.#told?.snapshot.state ?? this.#helper.watch.record.state;
    return this.#helper.isPaused && state === 'RUNNING' ? 'PAUSED' : state;
  }

  start(options: StartOptions): Promise<void> {
    return this.#carryOut(async (signal) => {
      const resolved = resolveStartOptions(options);
      const source = this.#process.clusters.find((each) => each.name === resolved.source);
      const record = (await this.#helper.store.loadMigration(signal)) ?? this.#helper.watch.record;
      refuseToStartAgain(completeOptions(resolved, source), record, this.state, this.#process.db);
    });
  }

  pause(): Promise<void> {
    return this.#carryOut(async (signal) => {
      nextState(this.state, 'pause');
      await this.#helper.pause(signal);
      this.#process.logger.info('This instance is paused; the others go on');
      this.#process.reporter.changed();
    });
  }

  resume(): Promise<void> {
    return this.#carryOut(async (signal) => {
      if (!this.#helper.isPaused) nextState(this.state, 'resume');
      await this.#helper.resume(signal);
      this.#process.logger.info('This instance is resumed');
      this.#process.reporter.changed();
    });
  }

  commit(): Promise<void> {
    return this.#carryOut(async (signal) => {
      nextState(this.state, 'commit');
      const { canCommit, commitObstacle } = this.snapshot();
      if (!canCommit && !this.#helper.calls.some(({ event }) => event === 'commit')) {
        const why = commitObstacle ?? 'the coordinator has not told yet how far it is';
        throw new AppError('InvalidStateTransition', `commit is not permitted while canCommit is false: ${why}`, {
          metadata: { state: this.state },
        });
      }
      await this.#give('commit', signal);
    });
  }

  reverse(): Promise<void> {
    return this.#carryOut(async (signal) => {
      nextState(this.state, 'reverse');
      if (!this.#helper.watch.record.options.reversible)
        throw new AppError('InvalidStateTransition', 'the migration was not started with reversible: true', {
          metadata: { state: this.state },
        });
      await this.#give('reverse', signal);
    });
  }

  mismatches(after: string, limit: number): Promise<readonly Mismatch[]> {
    return readMismatches(this.#helper.store, after, limit, this.#end.signal);
  }

  /** Errors: always InvalidStateTransition. */
  async repair(): Promise<never> {
    await Promise.resolve();
    const { coordinatorId } = this.snapshot();
    throw new AppError('InvalidStateTransition', `repair is the coordinator's to do: call it on ${coordinatorId}`, {
      metadata: { state: this.state },
    });
  }

  async #give(event: GatheredEvent, signal: AbortSignal): Promise<void> {
    const { config, logger, reporter } = this.#process;
    await this.#helper.give(event, config.coordinated === true, signal);
    logger.info(`${event} was called; it takes effect once every instance has been called`);
    reporter.changed();
  }

  get #told(): ToldStatus | undefined {
    return this.#helper.watch.status?.value as ToldStatus | undefined;
  }

  get #warnings(): string[] {
    const { ageMs } = this.#helper.watch.status ?? {};
    const { coordinatorId } = this.#told?.snapshot ?? {};
    if (ageMs === undefined || ageMs < QUIET_MS) return [];
    return [`Nothing has been heard of the coordinator ${coordinatorId} for ${Math.round(ageMs / 1000)} s`];
  }

  #untold(): Snapshot {
    const { instanceId } = this.#process.config;
    const snapshot = takeSnapshot({
      ...{ state: this.#helper.watch.record.state, failure: undefined, work: undefined, earlierLag: undefined },
      health: this.#process.reporter.health,
      rates: { perSecond: () => 0 },
      warnings: ['The coordinator has not told yet how far the migration is'],
      instanceId,
    });
    return { ...snapshot, coordinatorId: this.#coordinator };
  }

  #carryOut<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#end;
    return this.#turns.run(() => unlessAborted(call(signal), signal));
  }
}
