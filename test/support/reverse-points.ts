/** Reversals that are killed at a point of theirs and go on by themselves. */
import type { Document, MongoClient } from 'mongodb';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from './compare-clusters.js';
import { holdCommands, releaseCommands } from './fail-points.js';
import { FerryClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { seedRestorable } from './seed-shop.js';
import type { SharedPair } from './shared-servers.js';
import { isBlocked, METADATA_DB, storedMigration } from './stored-migration.js';
import { eventually } from './within.js';

const HOLD_MS = 3000;
const SHORT_HOLD_MS = 250;
export const REVERSIBLE = { enableUserWriteBlocking: true, reversible: true } as const;

/** The two clusters of a reversal: `one` has been the source. Both must be started with FAIL_POINTS. */
export interface Sides {
  readonly pair: SharedPair['pair'];
  readonly one: MongoClient;
  readonly two: MongoClient;
}

/** What the clusters hold before a migration that is to be reversed. */
export async function seedReversible(one: MongoClient): Promise<void> {
  await seedRestorable(one, 200);
  await one.db('shop').createCollection('cheap', { viewOn: 'items', pipeline: [] });
}

/** Where a reversal is held: `one` is to become the destination, `two` has been it. */
export interface ReversePoint {
  readonly name: string;
  readonly at: 'one' | 'two';
  readonly commands: readonly string[];
  readonly holdMs: number;
  readonly isReached: (there: Document | undefined, left: Document | undefined, written: number) => boolean;
}

/** In their order. */
export const REVERSE_POINTS = {
  nothingWritten: {
    name: 'before anything is written to the new destination',
    at: 'one',
    commands: ['update'],
    holdMs: HOLD_MS,
    isReached: (there: Document | undefined, left: Document | undefined) =>
      there === undefined && left?.['state'] === 'REVERSING',
  },
  halfMoved: {
    name: 'with half of the metadata moved',
    at: 'one',
    commands: ['update'],
    holdMs: SHORT_HOLD_MS,
    isReached: (there: Document | undefined, _left: Document | undefined, written: number) =>
      there === undefined && written > 0,
  },
  bothRecords: {
    name: 'with both records there',
    at: 'two',
    commands: ['update'],
    holdMs: SHORT_HOLD_MS,
    isReached: (there: Document | undefined, left: Document | undefined) =>
      there?.['state'] === 'REVERSING' && left?.['moved'] !== true,
  },
  whilePrepared: {
    name: 'while the new destination is prepared',
    at: 'one',
    commands: ['collMod'],
    holdMs: HOLD_MS,
    isReached: (there: Document | undefined, left: Document | undefined) =>
      there?.['state'] === 'REVERSING' && left?.['moved'] === true,
  },
  prepared: {
    name: 'once the new destination is prepared',
    at: 'two',
    commands: ['appendOplogNote'],
    holdMs: HOLD_MS,
    isReached: (there: Document | undefined, left: Document | undefined) =>
      there?.['state'] === 'REVERSING' && left?.['moved'] === true,
  },
} as const satisfies Readonly<Record<string, ReversePoint>>;

/** Brings a migration to COMMITTED, its reversal to that point, and kills the process there. */
export async function killReversalAt(
  ferry: FerryProcess,
  { one, two }: Pick<Sides, 'one' | 'two'>,
  point: ReversePoint,
): Promise<void> {
  using client = new FerryClient(ferry.grpcTarget);
  await client.start(REVERSIBLE);
  await client.commitAndWait();
  await two.db('shop').collection('items').insertOne({ sku: 'before' });
  await holdCommands(point.at === 'one' ? one : two, { commands: point.commands }, point.holdMs);
  await client.reverse();
  const reached = async (): Promise<boolean> => {
    const [there, left, written] = await Promise.all([
      storedMigration(one),
      storedMigration(two),
      one.db(METADATA_DB).collection('collections').countDocuments(),
    ]);
    return point.isReached(there, left, written);
  };
  await eventually(20_000, reached, point.name, { everyMs: 5 });
  await ferry.kill();
  assert.ok(await reached(), `${point.name}: not killed there`);
  await Promise.all([releaseCommands(one), releaseCommands(two)]);
}

/** Kills a reversal there, and sees a restart complete it. */
export async function killAndTurnAround(sides: Sides, point: ReversePoint): Promise<void> {
  const { pair, one, two } = sides;
  await using ferry = await FerryProcess.between(pair);
  await killReversalAt(ferry, sides, point);
  await two.db('shop').collection('items').insertOne({ sku: 'while it was down' });
  await ferry.restart();
  using client = new FerryClient(ferry.grpcTarget);
  const { directionMapping } = await client.waitForCanCommit();
  assert.match(directionMapping?.source ?? '', /^cluster1/);
  assert.ok(await isBlocked(one));
  assert.not.ok(await isBlocked(two));
  await client.commitAndWait();
  assert.equal([await isBlocked(one), await isBlocked(two)], [false, true]);
  await assertEqualClusters(one, two);
  assert.is(await one.db('shop').collection('items').countDocuments(), 202);
  // And a restart still knows which of the two records counts.
  await ferry.restart();
  using again = new FerryClient(ferry.grpcTarget);
  const found = await again.waitUntilInitialized();
  assert.equal([found.state, found.canWrite], ['COMMITTED', true]);
  assert.match(found.directionMapping?.source ?? '', /^cluster1/);
}
