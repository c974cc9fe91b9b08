import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { STATES } from '../../../src/metadata/state.js';
import { commitObstacle } from '../../../src/progress/commit-obstacle.js';
import type { ObservedRun, ObservedWork } from '../../../src/progress/observed.js';
import { NOT_COMPARED, NOT_VERIFYING } from '../../../src/verify/verifier-view.js';
import {
  COPYING,
  NOW_SECONDS,
  observedMigration,
  observedRun,
  observedWork,
  snapshotSources,
  verifierView,
} from '../../support/observed-work.js';

function obstacleOf(changes: Partial<ObservedWork>): string | undefined {
  return commitObstacle(snapshotSources({ work: observedWork(changes) }));
}

function obstacleInRun(changes: Partial<ObservedRun>): string | undefined {
  return obstacleOf({ run: observedRun(changes) });
}

function applied(safeSeconds: number): Partial<ObservedRun> {
  const { apply } = observedRun();
  return apply === undefined ? {} : { apply: { ...apply, safeSeconds } };
}

test('nothing stands against the commit of a migration that has caught up', () => {
  assert.is(obstacleOf({}), undefined);
});

for (const state of STATES.filter((each) => each !== 'RUNNING')) {
  test(`a commit is not permitted in ${state}`, () => {
    assert.is(commitObstacle(snapshotSources({ state })), `the state is ${state}`);
  });
}

test('a migration that has failed is not committed', () => {
  const failure = { error: 'OplogRolledOver', description: '', at: new Date() };
  assert.is(commitObstacle(snapshotSources({ failure })), 'the migration has failed');
});

test('what has interrupted the work stands against a commit, and is named', () => {
  assert.is(obstacleOf({ interruption: 'the disk is full' }), 'the disk is full');
});

test('the copy must be complete', () => {
  assert.match(obstacleOf({ migration: observedMigration(COPYING) }) ?? '', /collection copy/);
});

test('what was written during the copy must be applied', () => {
  assert.match(obstacleInRun({ drained: false }) ?? '', /not applied yet/);
});

test('indexes must be built', () => {
  const { indexes } = observedRun();
  assert.is(obstacleInRun({ indexes: { ...indexes, isComplete: false } }), 'indexes are being built');
});

test('a verified migration must have been compared; one that is not verified need not', () => {
  assert.is(obstacleInRun({ verifier: NOT_VERIFYING }), NOT_COMPARED);
  assert.is(obstacleInRun({ verifier: verifierView({ obstacle: () => '1 document differs' }) }), '1 document differs');
  assert.is(obstacleInRun({ verifier: undefined }), undefined);
});

test('the destination may be 30 seconds behind, and no more', () => {
  assert.is(obstacleInRun(applied(NOW_SECONDS - 30)), undefined);
  assert.match(obstacleInRun(applied(NOW_SECONDS - 31)) ?? '', /31 seconds behind/);
});

test('both clusters must answer', () => {
  const migration = observedMigration();
  const source = { ...migration.source, outage: 'cluster0 is away' };
  assert.match(obstacleOf({ migration: { ...migration, source } }) ?? '', /cluster0 is away/);
  const destination = { ...migration.destination, outage: 'cluster1 is away' };
  assert.match(obstacleOf({ migration: { ...migration, destination } }) ?? '', /cluster1 is away/);
});

test.run();
