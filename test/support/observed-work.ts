/** A migration as progress looks at it, for tests that need no servers: steady, caught up and verified. */
import { Timestamp } from '../../src/bson/bson.js';
import type { MigrationRecord } from '../../src/metadata/records.js';
import type { ObservedMigration, ObservedRun, ObservedWork, SnapshotSources } from '../../src/progress/observed.js';
import { completeOptions, resolveStartOptions } from '../../src/start/options.js';
import type { VerifierView } from '../../src/verify/verifier-view.js';
import { DEFAULT_START } from './migration-harness.js';

/** A cluster time, in seconds since the epoch. */
export function timeAt(seconds: number): Timestamp {
  return new Timestamp({ t: seconds, i: 1 });
}

/** The source's newest time in `observedWork`, in seconds since the epoch. */
export const NOW_SECONDS = 1000;

export const OPTIONS = completeOptions(resolveStartOptions(DEFAULT_START), undefined);

const COMMON = {
  options: OPTIONS,
  sourceId: 'source',
  destinationId: 'destination',
  blockedDestination: true,
  eventsApplied: 7,
  rawDeltas: true,
  warnings: [],
  startedAt: new Date(5000),
} as const;

/** The record of a migration that applies changes. */
export const APPLYING: MigrationRecord = {
  ...COMMON,
  state: 'RUNNING',
  phase: 'apply',
  startTime: timeAt(100),
  copyEndTime: timeAt(200),
  canWrite: false,
};

export const COPYING: MigrationRecord = {
  ...COMMON,
  state: 'RUNNING',
  phase: 'copy',
  startTime: timeAt(100),
  canWrite: false,
};

export const COMMITTED: MigrationRecord = {
  ...COMMON,
  state: 'COMMITTED',
  phase: 'done',
  startTime: timeAt(100),
  copyEndTime: timeAt(200),
  commit: { step: 'handover', time: timeAt(900), reverseStart: timeAt(901), verified: true },
  canWrite: true,
};

const SIDE = {
  phase: 'stream hashing',
  estimatedDocuments: 10,
  hashedDocuments: 10,
  collections: 1,
  scannedCollections: 1,
  lagSeconds: 2,
} as const;

/** A verification that has found nothing. */
export function verifierView(changes: Partial<VerifierView> = {}): VerifierView {
  return {
    progress: { source: SIDE, destination: SIDE },
    mismatches: { counts: new Map(), total: 0, text: '' },
    hashedOf: () => 10,
    obstacle: () => undefined,
    ...changes,
  };
}

export function observedRun(changes: Partial<ObservedRun> = {}): ObservedRun {
  return {
    copy: { totals: { totalBytes: 4000, copiedBytes: 4000, documents: 10 }, namespaces: [] },
    indexes: {
      progress: { built: 3, total: 3, collectionsFinished: 1, collectionsTotal: 1 },
      countsOf: () => ({ built: 3, total: 3 }),
      isComplete: true,
    },
    verifier: verifierView(),
    apply: {
      safe: undefined,
      safeSeconds: NOW_SECONDS - 3,
      crudSeconds: NOW_SECONDS - 3,
      ddlSeconds: undefined,
      queuedBytes: 12,
      crudRead: 40,
    },
    eventsApplied: 40,
    drained: true,
    ...changes,
  };
}

export function observedMigration(record: MigrationRecord = APPLYING): ObservedMigration {
  return {
    source: { label: 'cluster0: a:1', now: timeAt(NOW_SECONDS), outage: undefined, retries: 1 },
    destination: { label: 'cluster1: b:1', outage: undefined, retries: 2 },
    record: { value: record },
    options: record.options,
    buildIndexes: record.options.buildIndexes,
    collections: { live: () => [] },
  };
}

export function observedWork(changes: Partial<ObservedWork> = {}): ObservedWork {
  return {
    run: observedRun(),
    migration: observedMigration(),
    interruption: undefined,
    majorityDelayMs: 10,
    ...changes,
  };
}

export function snapshotSources(changes: Partial<SnapshotSources> = {}): SnapshotSources {
  return {
    state: 'RUNNING',
    failure: undefined,
    work: observedWork(),
    health: { sourcePingMs: 0.4, destinationPingMs: 5.4, oldestOplogSeconds: NOW_SECONDS - 3603 },
    rates: { perSecond: () => 100 },
    earlierLag: undefined,
    warnings: [],
    instanceId: 'one',
    ...changes,
  };
}
