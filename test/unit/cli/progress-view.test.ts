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
  estimatedOplogTimeRemaining: '12 hours',
  warnings: ['nothing was verified'],
  details: {
    rates: { documentsPerSecond: 10, bytesPerSecond: 1024 ** 2, eventsPerSecond: 99.6 },
    copyRemainingSeconds: 1024,
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

test('a screen has a line per phase and the busiest namespaces, most left first', () => {
  assert.equal(progressScreen(full, 100), [
    'RUNNING, change event application (collection copy drain), cluster0: a:27017 to cluster1: b:27017, …',
    'copy      [##############################----------]  75% 3.0 GiB of 4.0 GiB, 1.0 MiB/s, 17 min 4 s…',
    'indexes   [#############---------------------------]  33% 1 of 3',
    'changes   1,000,000 applied, 100/s, oplog lasts 12 hours',
    '  shop.large [#####---------------] 500 of 1,000 documents',
    '  shop.small [##########----------] 500 of 1,000 documents',
    'warning   nothing was verified',
  ]);
});

test('the verification, what differs and why a commit has to wait have lines of their own', () => {
  const side = { estimatedDocumentCount: 1000, hashedDocumentCount: 250, totalCollectionCount: 2 };
  const hashing = ProgressSnapshot.fromPartial({
    state: 'RUNNING',
    verification: {
      source: { ...side, phase: 'initial hashing', lagTimeSeconds: 1 },
      destination: { ...side, phase: 'initial hashing', lagTimeSeconds: 70 },
    },
    details: { commitObstacle: 'indexes are being built', mismatchCount: 3 },
  });
  const text = 'verification initial hashing, 250 of 1,000 documents, lag 1 min 10 s, 3 documents differ';
  assert.equal(progressScreen(hashing, 200).slice(1), [
    `verify    [##########------------------------------]  25% ${text}`,
    'commit    not yet: indexes are being built',
  ]);
  assert.is(progressLine(hashing), `RUNNING | ${text} | no commit yet: indexes are being built`);
});

test('no line is wider than the terminal', () => {
  for (const columns of [20, 61, 200]) {
    for (const line of progressScreen(full, columns)) assert.ok(line.length <= columns, line);
  }
});

test('a failure is shown by its name', () => {
  const failed = ProgressSnapshot.fromPartial({
    ...full,
    details: { failure: { error: 'OplogRolledOver', errorDescription: 'too late' } },
  });
  assert.match(progressScreen(failed, 200).at(-1) ?? '', 'FAILED    OplogRolledOver: too late');
  assert.match(progressLine(failed), '| FAILED OplogRolledOver: too late');
});

test('IDLE has nothing but its name', () => {
  const idle = ProgressSnapshot.fromPartial({ state: 'IDLE' });
  assert.equal(progressScreen(idle, 80), ['IDLE']);
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

test.run();
