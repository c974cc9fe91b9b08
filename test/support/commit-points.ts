/** Holds a process at each step of a commit. */
import type { Document, MongoClient } from 'mongodb';
import { holdCommands, releaseCommands } from './fail-points.js';
import { FerryClient } from './ferry-client.js';
import type { FerryProcess } from './ferry-process.js';
import type { MigrationHarness } from './migration-harness.js';
import { storedMigration, storedWhen } from './stored-migration.js';

/** The two ends of a migration; both must be started with FAIL_POINTS. */
export interface Ends {
  readonly source: MongoClient;
  readonly destination: MongoClient;
}

/** Long enough for a kill, short enough for a restarted process that meets what the killed one had sent. */
const HOLD_MS = 2500;

/** A step of a commit: what holds a process there, and how it is told from the stored record. */
export interface CommitPoint {
  readonly name: string;
  /** Whose command is held. */
  readonly at: keyof Ends;
  readonly command: string;
  readonly isReached: (record: Document) => boolean;
  /** Whether the point of no return is passed: the destination must never be blocked again. */
  readonly isHandedOver: boolean;
}

const isAt = (step: string) => (record: Document) => record['commit']?.step === step;

/** The points at which a commit can be held, in their order. */
export const COMMIT_POINTS = {
  beforeTime: {
    name: 'before the commit time is taken',
    at: 'source',
    command: 'appendOplogNote',
    isReached: (record: Document) => isAt('drain')(record) && record['commit'].time === undefined,
    isHandedOver: false,
  },
  timeStored: {
    name: 'once the commit time is stored',
    at: 'source',
    command: 'listCollections',
    isReached: (record: Document) => isAt('drain')(record) && record['commit'].time !== undefined,
    isHandedOver: false,
  },
  restoring: {
    name: 'while options are restored',
    at: 'destination',
    command: 'collMod',
    isReached: isAt('restore'),
    isHandedOver: false,
  },
  noReturn: {
    name: 'at the point of no return',
    at: 'destination',
    command: 'setUserWriteBlockMode',
    isReached: isAt('handover'),
    isHandedOver: true,
  },
  finishing: {
    name: 'while expiry and uniqueness are restored',
    at: 'destination',
    command: 'collMod',
    isReached: (record: Document) => record['canWrite'] === true,
    isHandedOver: true,
  },
} as const satisfies Readonly<Record<string, CommitPoint>>;

/** Commits, and resolves while the commit is held for `ms` between its time and its point of no return. */
export async function commitHeld(harness: MigrationHarness, destination: MongoClient, ms: number): Promise<void> {
  const { command, name, isReached } = COMMIT_POINTS.restoring;
  await harness.caughtUp();
  await holdCommands(destination, { commands: [command], times: 1 }, ms);
  await harness.migration.commit();
  await storedWhen(destination, name, isReached);
}

/** Starts a migration, brings its commit to that point and kills its process there. Nothing is held afterwards. */
export async function killAt(ferry: FerryProcess, ends: Ends, point: CommitPoint): Promise<void> {
  const { source, destination } = ends;
  using client = new FerryClient(ferry.grpcTarget);
  await client.start();
  await client.waitForCanCommit();
  // Those of the command that come before the point are held, too: what is held cannot be changed while one waits.
  await holdCommands(ends[point.at], { commands: [point.command] }, HOLD_MS);
  await client.commit();
  await storedWhen(destination, point.name, point.isReached);
  await ferry.kill();
  const record = await storedMigration(destination);
  if (record?.['state'] !== 'COMMITTING' || !point.isReached(record)) {
    const { state, canWrite, commit } = record ?? {};
    throw new Error(`the process was not killed ${point.name}, but at ${JSON.stringify({ state, canWrite, commit })}`);
  }
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
}
