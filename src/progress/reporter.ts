/** Makes the snapshots that progress shows, and tells listeners when they change. */
import type { Logger } from '../lib/logger.js';
import type { FailureRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import { takeStageStats } from '../metrics.js';
import type { InstanceSnapshot, Snapshot } from './control.js';
import type { Health } from './monitor.js';
import type { ObservedMigration, ObservedWork, SnapshotSources } from './observed.js';
import { takeSnapshot } from './snapshot.js';
import { Trends } from './trends.js';

/** What a snapshot shows and somebody else decides on. */
export interface Reported {
  readonly state: State;
  readonly failure: FailureRecord | undefined;
  readonly work: ObservedWork | undefined;
  /** What each cluster is being waited for, and what cannot be connected to. */
  readonly waits: readonly string[];
  /** Warnings of the process itself. */
  readonly processWarning: string | undefined;
  /** All instances, where there is more than one. */
  readonly instances?: readonly InstanceSnapshot[];
  /** Calls that not every instance has been given yet. */
  readonly gathering?: readonly string[];
}

/** Each is logged; so many are shown and kept. */
const MAX_WARNINGS = 100;

/** What callers are told: the snapshot, its warnings, and when it changes. Decides nothing. */
export class Reporter {
  readonly health: Health = { sourcePingMs: undefined, destinationPingMs: undefined, oldestOplogSeconds: undefined };
  readonly #instanceId: string;
  readonly #logger: Logger;
  readonly #reported: Reported;
  readonly #listeners = new Set<() => void>();
  readonly #trends = new Trends();
  readonly #warnings = new Set<string>();
  #unshown = 0;
  #heldUp: string | undefined;
  #unknownOutcome: string | undefined;
  #flags = '';
  #crudRead: { readonly read: number; readonly atMs: number } | undefined;

  constructor(instanceId: string, logger: Logger, reported: Reported) {
    this.#instanceId = instanceId;
    this.#logger = logger;
    this.#reported = reported;
  }

  /** What the record keeps. */
  get warnings(): readonly string[] {
    return [...this.#warnings];
  }

  get sources(): SnapshotSources {
    const { state, failure, work, waits, processWarning, instances = [], gathering = [] } = this.#reported;
    return {
      state,
      failure,
      work,
      health: this.health,
      rates: this.#trends.rates,
      earlierLag: this.#trends.earlierLag,
      warnings: [
        ...this.#warnings,
        ...this.#more,
        ...texts(
          this.#heldUp,
          this.#unknownOutcome,
          work?.interruption,
          slowMajority(work),
          sourceBlock(work?.migration),
        ),
        ...gathering,
        ...waits,
        ...texts(processWarning),
      ],
      instanceId: this.#instanceId,
      instances,
    };
  }

  snapshot(): Snapshot {
    return takeSnapshot(this.sources);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** A warning that stays. */
  warn(warning: string): void {
    if (this.#warnings.has(warning)) return;
    if (this.#warnings.size < MAX_WARNINGS) this.#warnings.add(warning);
    else this.#unshown++;
    this.#logger.warn(warning);
    this.changed();
  }

  get #more(): string[] {
    return this.#unshown === 0 ? [] : [`and ${this.#unshown} more warnings, which are in the log`];
  }

  /** Warnings that were given before, e.g. by an earlier process. */
  remember(warnings: readonly string[]): void {
    for (const warning of warnings) this.#warnings.add(warning);
  }

  /** The one warning that goes again: what holds up, or has ended, the last commit or reversal. */
  heldUp(warning: string | undefined): void {
    if (warning === this.#heldUp) return;
    this.#heldUp = warning;
    if (warning !== undefined) this.#logger.warn(warning);
    this.changed();
  }

  /** The call whose outcome is not known yet, while it is not. */
  unknownOutcome(warning: string | undefined): void {
    this.#unknownOutcome = warning;
    this.changed();
  }

  /** Once a second. */
  tick(): void {
    const snapshot = this.snapshot();
    this.#trends.sample(this.#reported.work?.run, snapshot);
    const flags = `${snapshot.canCommit} ${snapshot.canWrite} ${snapshot.info} ${snapshot.ceaStage} ${snapshot.warnings.length}`;
    if (flags === this.#flags) return;
    this.#flags = flags;
    this.changed();
  }

  /** What readers of mongosync's logs chart: one line of each kind at a time, since they pair them. */
  logProgress(): void {
    const { state, lag, oplogTimeRemaining, totalEventsApplied, rates, verification } = this.snapshot();
    this.#logger.info('Replication progress.', {
      state,
      lagTimeSeconds: lag?.overallSeconds ?? null,
      estimatedOplogTimeRemaining: oplogTimeRemaining,
      totalEventsApplied: totalEventsApplied ?? 0,
      eventApplicationRatePerSecond: Math.round(rates.eventsPerSecond),
      verifierSrcLagTimeSeconds: verification?.source.lagSeconds,
      verifierDstLagTimeSeconds: verification?.destination.lagSeconds,
    });
    const { sourcePingMs, destinationPingMs } = this.health;
    this.#logger.info('Operation duration stats.', {
      ...takeStageStats(),
      sourcePingLatencyMs: pingText(sourcePingMs),
      destinationPingLatencyMs: pingText(destinationPingMs),
    });
    this.#logCrudRate();
  }

  #logCrudRate(): void {
    const read = this.#reported.work?.run?.apply?.crudRead;
    const atMs = performance.now();
    const last = this.#crudRead;
    this.#crudRead = read === undefined ? undefined : { read, atMs };
    // A run that was begun anew counts from zero.
    if (read === undefined || last === undefined || read < last.read) return;
    const perSecond = ((read - last.read) * 1000) / Math.max(1, atMs - last.atMs);
    this.#logger.info('Average Source CRUD events rate', { srcCRUDEventsPerSec: Math.round(perSecond * 100) / 100 });
  }
}

/** As mongosync writes it, where there is no number. */
function pingText(ms: number | undefined): number | string | undefined {
  return ms === -1 ? 'unreachable' : ms && Math.round(ms * 100) / 100;
}

function texts(...values: readonly (string | undefined)[]): string[] {
  return values.filter((value): value is string => value !== undefined);
}

/** From how late a majority's confirmation comes on it is told why everything is slow. */
const SLOW_MAJORITY_MS = 5000;

function slowMajority(work: ObservedWork | undefined): string | undefined {
  if (work === undefined || work.majorityDelayMs < SLOW_MAJORITY_MS) return undefined;
  const { majorityDelayMs: delayMs, migration } = work;
  return `A majority of ${migration.destination.label} confirms writes only after ${Math.round(delayMs / 1000)} s, which slows down everything. Look at the replication lag of its secondaries (rs.printSecondaryReplicationInfo())`;
}

/** The source stays blocked, which its operator must know; lifting it costs the possibility to reverse. */
function sourceBlock(migration: ObservedMigration | undefined): string | undefined {
  if (migration === undefined) return undefined;
  const { record, source } = migration;
  if (!record.value.canWrite || record.value.blockedSource !== true) return undefined;
  return `The commit has blocked writes to the source, and the block stays; to lift it, run on ${source.label}: db.adminCommand({setUserWriteBlockMode: 1, global: false}). Writes to the source make a reversal impossible`;
}
