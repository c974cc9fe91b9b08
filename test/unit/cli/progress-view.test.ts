import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NamespaceProgress, ProgressSnapshot } from '../../../gen/mongoferry/v1/progress.js';
import { progressLine, progressScreen } from '../../../src/cli/progress-view.js';
import { bar, bytes, count, duration, percent } from '../../../src/cli/units.js';

const full = ProgressSnapshot.fromPartial({
  state: 'RUNNING',
  info: 'change event application',
  ceaStage: 'collection copy drain',
  lagTimeSeconds: 75,
  totalEventsApplied: 1_000_000,
  collectionCopy: { estimatedCopiedBytes: 3 * 1024 ** 3, estimatedTotalBytes: 4 * 1024 ** 3 },
  indexBuilding: { indexesBuilt: 1, totalIndexesToBuild: 3, collectionsFinished: 0, collectionsTotal: 2 },
  directionMapping: { source: 'cluster0: a:27017', destination: 'cluster1: b:27017' },
  verification: {
    source: { phase: 'initial hashing', estimatedDocumentCount: 2000, hashedDocumentCount: 500 },
  },
  estimatedOplogTimeRemaining: '12 hours',
  warnings: ['nothing was verified'],
  details: {
    rates: { documentsPerSecond: 10, bytesPerSecond: 1024 ** 2, eventsPerSecond: 99.6 },
    copyRemainingSeconds: 1024,
    mismatchCount: 2,
    commitObstacle: 'indexes are being built',
    namespaces: ['small', 'large', 'done'].map((name, i) =>
      NamespaceProgress.fromPartial({
        namespace: `shop.${name}`,
        documentsCopied: 500,
        estimatedDocuments: 1000,
        bytesCopied: 50,
        estimatedBytes: 100 * (i + 1),
        partitionsDone: name === 'done' ? 2 : 1,
        partitionsTotal: 2,
      }),
    ),
  },
});

const NOW = new Date('2026-01-01T12:00:00Z');

test('a screen has a line per phase and the busiest namespaces, most left first', () => {
  assert.equal(progressScreen(full, 100, NOW), [
    'RUNNING, lag 1 min 15 s, change event application (collection copy drain), cluster0: a:27017 to clu…',
    'copy      [##############################----------]  75% 3.0 GiB of 4.0 GiB, 1.0 MiB/s, 17 min 4 s…',
    'indexes   [#############---------------------------]  33% 1 of 3',
    'verified  [##########------------------------------]  25% 500 of 2,000 documents, initial hashing, …',
    'changes   1,000,000 applied, 100/s, oplog lasts 12 hours',
    'commit    must wait: indexes are being built',
    '  shop.large [#####---------------] 500 of 1,000 documents',
    '  shop.small [##########----------] 500 of 1,000 documents',
    'warning   nothing was verified',
  ]);
});

test('a line tells how much is verified, and how many documents differ', () => {
  assert.match(progressLine(full), '| verified 500 of 2,000 | differing 2 | changes 1,000,000');
});

test('several instances have a line each', () => {
  const instances = [
    { id: 'a', state: 'coordinating', alive: true, bytesCopied: 2048, rangesInWork: 4 },
    { id: 'b', state: 'gone', bytesCopied: 1024 },
  ];
  const snapshot = ProgressSnapshot.fromPartial({ ...full, details: { ...full.details, instances } });
  assert.equal(
    progressScreen(snapshot, 100).filter((line) => line.startsWith('instance')),
    ['instance  a: coordinating, 2.0 KiB copied, 4 ranges in work', 'instance  b: gone, 1.0 KiB copied'],
  );
});

test('no line is wider than the terminal', () => {
  for (const columns of [20, 61, 200]) {
    for (const line of progressScreen(full, columns, NOW)) assert.ok(line.length <= columns, line);
  }
});

test('a failure is shown by its name', () => {
  const failed = ProgressSnapshot.fromPartial({
    ...full,
    details: { failure: { error: 'OplogRolledOver', errorDescription: 'too late' } },
  });
  assert.match(progressScreen(failed, 200, NOW).at(-1) ?? '', 'FAILED    OplogRolledOver: too late');
  assert.match(progressLine(failed), '| FAILED OplogRolledOver: too late');
});

test('IDLE has nothing but its name', () => {
  const idle = ProgressSnapshot.fromPartial({ state: 'IDLE' });
  assert.equal(progressScreen(idle, 80, NOW), ['IDLE']);
  assert.is(progressLine(idle), 'IDLE');
});

test('units', () => {
  assert.equal([0, 1023, 1024, 1536, 1024 ** 5].map(bytes), ['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '1.0 PiB']);
  assert.equal([0, 59.4, 60, 3599, 3600, -5].map(duration), [
    '0 s',
    '59 s',
    '1 min 0 s',
    '59 min 59 s',
    '1 h 0 min',
    '0 s',
  ]);
  assert.is(count(1234567.4), '1,234,567');
  assert.equal([percent(0, 0), percent(1, 3), percent(5, 4)], ['100%', ' 33%', '100%']);
  assert.equal([bar(0, 2, 4), bar(1, 2, 4), bar(9, 2, 4)], ['[----]', '[##--]', '[####]']);
});

test('what matters most fits into 80 columns, and the time that has passed and is left is told', () => {
  const started = new Date(NOW.getTime() - 3_725_000);
  const running = ProgressSnapshot.fromPartial({
    ...full,
    canCommit: true,
    estimatedSecondsToCeaCatchup: 60,
    details: { ...full.details, startedAt: started, copyRemainingSeconds: 240 },
  });
  const [head = '', time] = progressScreen(running, 80, NOW);
  assert.match(head, /^RUNNING, lag 1 min 15 s, can commit, /);
  assert.is(time, 'time      1 h 2 min, about 5 min 0 s left');
  const [written = ''] = progressScreen(
    ProgressSnapshot.fromPartial({ ...running, canCommit: false, canWrite: true }),
    40,
    NOW,
  );
  assert.match(written, 'can write');
});

test.run();
