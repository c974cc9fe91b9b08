import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { STATES } from '../../../src/metadata/state.js';
import { takeSnapshot } from '../../../src/progress/snapshot.js';
import {
  COMMITTED,
  COPYING,
  NOW_SECONDS,
  OPTIONS,
  observedMigration,
  observedRun,
  observedWork,
  snapshotSources,
  verifierView,
} from '../../support/observed-work.js';

test('without a migration nothing is told of one', () => {
  const snapshot = takeSnapshot(snapshotSources({ state: 'IDLE', work: undefined, warnings: ['w'] }));
  assert.is(snapshot.state, 'IDLE');
  assert.is(snapshot.canCommit, false);
  assert.is(snapshot.copy, undefined);
  assert.is(snapshot.startedAt, undefined);
  assert.equal(snapshot.warnings, ['w']);
});

test('a migration that has caught up is in its steady state, and may be committed', () => {
  const snapshot = takeSnapshot(snapshotSources());
  assert.is(snapshot.info, 'change event application');
  assert.is(snapshot.ceaStage, 'steady state');
  assert.is(snapshot.canCommit, true);
  assert.is(snapshot.commitObstacle, undefined);
  assert.equal(snapshot.lag, { overallSeconds: 3, crudSeconds: 3, ddlSeconds: undefined });
  assert.is(snapshot.totalEventsApplied, 40);
  assert.equal(snapshot.direction, { source: 'cluster0: a:1', destination: 'cluster1: b:1' });
  assert.is(snapshot.retries, 3);
});

test('a ping below a millisecond is not told, and a failed one says that the cluster does not answer', () => {
  const well = takeSnapshot(snapshotSources());
  assert.is(well.sourcePingMs, undefined);
  assert.is(well.destinationPingMs, 5);
  const health = { sourcePingMs: -1, destinationPingMs: 2, oldestOplogSeconds: undefined };
  const away = takeSnapshot(snapshotSources({ health }));
  assert.is(away.sourcePingMs, -1);
  assert.is(away.sourceUnavailable, true);
  assert.is(away.destinationUnavailable, false);
});

test('while copying, the copy is told and no index builds, and the time that is left by the rate', () => {
  const copy = { totals: { totalBytes: 4000, copiedBytes: 1000, documents: 3 }, namespaces: [] };
  const run = observedRun({ copy, apply: undefined, drained: false });
  const snapshot = takeSnapshot(
    snapshotSources({ work: observedWork({ run, migration: observedMigration(COPYING) }) }),
  );
  assert.is(snapshot.info, 'collection copy');
  assert.equal(snapshot.copy, { totalBytes: 4000, copiedBytes: 1000 });
  assert.is(snapshot.copyRemainingSeconds, 30);
  assert.is(snapshot.indexBuilding, undefined);
  assert.is(snapshot.lag?.overallSeconds, NOW_SECONDS - 100, 'since the start time');
});

test('with a document filter it is not known how much there is to copy', () => {
  const options = { ...OPTIONS, documentFilter: { field: 'tenant', matchValues: ['a'] } };
  const migration = { ...observedMigration(), options };
  const snapshot = takeSnapshot(snapshotSources({ work: observedWork({ migration }) }));
  assert.equal(snapshot.copy, { totalBytes: undefined, copiedBytes: 4000 });
  assert.is(snapshot.copyRemainingSeconds, undefined);
});

test('after the handover there is no lag, and no oplog to be short of', () => {
  const work = observedWork({ migration: observedMigration(COMMITTED) });
  const snapshot = takeSnapshot(snapshotSources({ state: 'COMMITTED', work }));
  assert.is(snapshot.canWrite, true);
  assert.is(snapshot.info, 'commit completed');
  assert.is(snapshot.lag?.overallSeconds, 0);
  assert.is(snapshot.oplogTimeRemaining, undefined);
  assert.is(snapshot.verification?.source.lagSeconds, 0);
});

test('nothing is read while paused, so no lag is told', () => {
  const snapshot = takeSnapshot(snapshotSources({ state: 'PAUSED' }));
  assert.is(snapshot.lag, undefined);
  assert.is(snapshot.verification?.source.lagSeconds, undefined);
});

test('the time to catch up follows from how the lag has shrunk, and is not told while it grows', () => {
  const shrinking = takeSnapshot(snapshotSources({ earlierLag: { seconds: 9, agoSeconds: 10 } }));
  assert.is(shrinking.secondsToCatchup, 5);
  const growing = takeSnapshot(snapshotSources({ earlierLag: { seconds: 2, agoSeconds: 10 } }));
  assert.is(growing.secondsToCatchup, undefined);
});

test('documents that differ are a warning, until the migration is committed', () => {
  const mismatches = { counts: new Map([['shop.items', 2]]), total: 2, text: '2 documents differ' };
  const work = observedWork({ run: observedRun({ verifier: verifierView({ mismatches }) }) });
  assert.ok(takeSnapshot(snapshotSources({ work })).warnings.some((text) => text.includes('2 documents differ')));
  assert.equal(takeSnapshot(snapshotSources({ state: 'COMMITTED', work })).warnings, []);
});

test('only in RUNNING is it told what stands against a commit', () => {
  for (const state of STATES) {
    const run = observedRun({ drained: false });
    const { commitObstacle, canCommit } = takeSnapshot(snapshotSources({ state, work: observedWork({ run }) }));
    assert.is(commitObstacle !== undefined, state === 'RUNNING', state);
    assert.is(canCommit, false, state);
  }
});

test.run();
