import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLogger } from '../../../src/lib/logger.js';
import { ThreadEnded } from '../../../src/lib/thread-channel.js';
import type { MatchEvents } from '../../../src/matching/match.js';
import type { RangeScan, RangeScanner } from '../../../src/matching/range-scanner.js';
import { ScannerWithSpare, startThread } from '../../../src/matching/worker-range-scanner.js';

const { signal } = new AbortController();
const SCAN = {} as RangeScan;

class Scanner implements RangeScanner {
  scans = 0;
  readonly #work: (events: MatchEvents) => void;

  constructor(work: (events: MatchEvents) => void) {
    this.#work = work;
  }

  async scan(_scan: RangeScan, events: MatchEvents): Promise<'compared'> {
    this.scans++;
    this.#work(events);
    return 'compared';
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }
}

test('when the thread ends, its range is compared by the spare, and so are later ones; nothing counts twice', async () => {
  const thread = new Scanner((events) => {
    events.onRead(10, 5);
    throw new ThreadEnded('out of memory');
  });
  const local = new Scanner((events) => events.onRead(100, 100));
  const told: string[] = [];
  const scanner = new ScannerWithSpare(thread, local, (error) => told.push(error.message));
  let read = 0;
  const events = { onRead: (source: number) => (read += source), onDiffering: () => Promise.resolve() };
  assert.is(await scanner.scan(SCAN, events, signal), 'compared');
  assert.is(await scanner.scan(SCAN, events, signal), 'compared');
  assert.equal([read, thread.scans, local.scans, told], [200, 1, 2, ['out of memory']]);
});

test('other failures are passed on', async () => {
  const thread = new Scanner(() => {
    throw new Error('refused');
  });
  const local = new Scanner(() => undefined);
  const scanner = new ScannerWithSpare(thread, local, () => undefined);
  const events = { onRead: () => undefined, onDiffering: () => Promise.resolve() };
  const error = await scanner.scan(SCAN, events, signal).catch((cause: unknown) => cause);
  assert.equal([String(error), local.scans], ['Error: refused', 0]);
});

test('waiting for a thread to connect ends with the signal', async () => {
  const stop = new AbortController();
  // Nobody listens there: an election looks the same.
  const nowhere = { name: 'cluster0', uri: 'mongodb://127.0.0.1:1/?directConnection=true' };
  const data = { source: nowhere, destination: nowhere, maxPoolSize: 1 };
  const logger = createLogger({ level: 'ERROR', mongosyncId: 'test', sink: { write: () => undefined } });
  const warnings: string[] = [];
  const reports = { logger, onWarning: (text: string) => warnings.push(text) };
  const started = startThread(data, new Scanner(() => undefined), reports, stop.signal).catch(
    (cause: unknown) => cause,
  );
  // Whenever it comes, the outcome is the same; after a while the thread has begun to connect.
  setTimeout(() => stop.abort(new Error('stopped')), 300);
  assert.is(String(await started), 'Error: stopped');
  assert.equal(warnings, []);
});

test.run();
