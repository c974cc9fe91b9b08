/** The sequences of requests that two user interfaces for mongosync send, and what its analysers read of the logs. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { ConfiguredFerry, type LogEntry, twoPorts } from '../support/configured-ferry.js';
import { type RestAnswer, RestClient, type RestProgress } from '../support/rest-client.js';
import { sharedPair, sharedSet } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 240_000;
const WAIT_MS = 60_000;
/** User interfaces count up from mongosync's port; other tests may use that one itself. */
const FIRST_PORT = 27_100;
const LAST_PORT = 27_180;

const { pair, source, destination } = await sharedPair(test);
const other = await sharedSet(test);
const third = await other.connect();

/** Calls as the interfaces send them: JSON bodies, `{}` where there is nothing to say. */
class Interface {
  readonly rest: RestClient;
  readonly #url: string;

  constructor(port: number) {
    this.#url = `http://localhost:${port}`;
    this.rest = new RestClient(() => this.#url);
  }

  async send(call: string, body: object = {}): Promise<RestAnswer> {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${this.#url}/api/v1/${call}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  /** Waits as they do: for any answer, then for the state. */
  async waitFor(state: string): Promise<RestProgress> {
    let last: RestProgress = {};
    const look = async (): Promise<boolean> => {
      last = await this.rest.progress().catch(() => ({}));
      return last['state'] === state;
    };
    await eventually(WAIT_MS, look, state);
    return last;
  }

  async metrics(): Promise<string> {
    return await (await fetch(`${this.#url}/metrics`)).text();
  }
}

const DONE = { status: 200, body: { success: true } };

test('two interfaces run two migrations on ports that follow one another, from attach to reverse', async () => {
  const work = async () => {
    const items = source.db('shop').collection<{ n: number }>('items');
    await items.insertMany(Array.from({ length: 500 }, (_, n) => ({ n })));
    await items.createIndex({ n: 1 });
    const port = await twoPorts(FIRST_PORT, LAST_PORT);
    const common = { verbosity: 'DEBUG', loadLevel: 3, disableTelemetry: true };
    const uris = { cluster0: pair.source.uri, cluster1: pair.destination.uri };
    await using first = await ConfiguredFerry.start({ ...common, ...uris, port });
    const one = new Interface(port);
    await one.waitFor('IDLE');
    // Without blocking, whose default differs; the interface knows no such field.
    const body = { source: 'cluster0', destination: 'cluster1', reversible: true, detectRandomId: true };
    const start = { ...body, verification: { enabled: false } };
    assert.equal(await one.send('start', start), DONE);

    const next = { cluster0: pair.source.uri, cluster1: other.uri, port: port + 1 };
    await using second = await ConfiguredFerry.start({ ...next, enableVerifierPersistence: true });
    await runSecond(new Interface(port + 1), second);
    await runFirst(one, first, start);
    assert.is(await second.stop('SIGINT'), 0);
  };
  await within(TEST_MS, work(), 'both migrations');
});

/** Attaches at once, starts before anything is connected, pauses, resumes and commits. */
async function runSecond(ui: Interface, ferry: ConfiguredFerry): Promise<void> {
  await eventually(
    WAIT_MS,
    () =>
      ui.rest.progress().then(
        () => true,
        () => false,
      ),
    'an answer',
  );
  assert.equal(await ui.send('start', { Source: 'cluster0', Destination: 'cluster1' }), DONE);
  await ui.rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, WAIT_MS);
  assert.equal(await ui.send('pause'), DONE);
  assert.is((await ui.waitFor('PAUSED'))['lagTimeSeconds'], null);
  assert.equal(await ui.send('resume'), DONE);
  await source
    .db('shop')
    .collection('items')
    .insertMany(Array.from({ length: 200 }, (_, n) => ({ n: 1000 + n })));
  const isThere = async () => (await third.db('shop').collection('items').countDocuments()) === 700;
  await eventually(WAIT_MS, isThere, 'the documents');
  const progress = await ui.rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, WAIT_MS);
  assert.ok(progress['verification'] !== null);
  // Each event once, although the verifier reads them too. Notes go on being written and read meanwhile.
  const read = metricOf(await ui.metrics(), 'mongosync_cea_change_stream_reader_events_read');
  assert.ok(read >= 200 && read < 300, `${read} events read`);
  assert.equal(await ui.send('commit'), DONE);
  const committed = await ui.waitFor('COMMITTED');
  assert.is(committed['canWrite'], true);
  await source.db('shop').collection('other').insertOne({ at: 'after the commit' });
  await source.db('shop').dropCollection('other');
  const sides = committed['verification'] as Record<string, { lagTimeSeconds: number }>;
  assert.equal([sides['source']?.lagTimeSeconds, sides['destination']?.lagTimeSeconds], [0, 0]);
  const warned = ferry.entries().find(({ message }) => message.includes('enableVerifierPersistence'));
  assert.is(warned?.['level'], 'warn');
}

/** Commits, reverses, is stopped and started again, and goes on where it was. */
async function runFirst(ui: Interface, ferry: ConfiguredFerry, start: object): Promise<void> {
  await ui.rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, WAIT_MS);
  assert.equal(await ui.send('commit'), DONE);
  await ui.waitFor('COMMITTED');
  await assertEqualClusters(source, destination);
  assert.equal(await ui.send('reverse'), DONE);
  await ui.waitFor('RUNNING');
  const before = await ui.rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, WAIT_MS);
  assert.is(await ferry.stop('SIGTERM'), 0);
  ferry.spawn();
  const after = await ui.waitFor('RUNNING');
  assert.equal(await ui.send('start', start), DONE);
  const startedAt = (progress: RestProgress) => (progress['details'] as Record<string, unknown>)['startedAt'];
  assert.type(startedAt(before), 'string');
  assert.is(startedAt(after), startedAt(before));
}

function metricOf(metrics: string, name: string): number {
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(metrics)?.[1] ?? Number.NaN);
}

/** As the analyser reads a time: the first 26 characters by `%Y-%m-%dT%H:%M:%S.%f`, then what is left. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/;
/** A line of the metrics that it charts. */
const METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?\s+[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?\s*$/;

test("the log and the metrics of a migration are what mongosync's analysers read", async () => {
  const work = async () => {
    await source
      .db('shop')
      .collection('items')
      .insertMany(Array.from({ length: 500 }, (_, n) => ({ n })));
    const port = await twoPorts(FIRST_PORT, LAST_PORT);
    const uris = { cluster0: pair.source.uri, cluster1: pair.destination.uri };
    await using folder = await ConfiguredFerry.start({ ...uris, port });
    const ui = new Interface(port);
    await ui.waitFor('IDLE');
    await folder.stop('SIGTERM');
    await using ferry = await ConfiguredFerry.start({ ...uris, port, metricsLoggingFilepath: folder.folder });
    await ui.waitFor('IDLE');
    assert.equal(await ui.send('start', { source: 'cluster0', destination: 'cluster1' }), DONE);
    await ui.rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, WAIT_MS);
    const text = await ui.metrics();
    const lines = text.trim().split('\n');
    assert.ok(lines.length < 500, `${lines.length} lines for a toy migration`);
    const charted = new Set(
      lines.map((line) => /^(?:mongosync|verifier)_\w+?(?=_bucket|_sum|_count\{|[ {]|$)/.exec(line)?.[0]),
    );
    assert.ok(charted.size >= 28, `${charted.size}: ${[...charted].join()}`);
    assert.equal(await ui.send('commit'), DONE);
    await ui.waitFor('COMMITTED');
    assert.is(await ferry.stop('SIGTERM'), 0);
    checkLog(ferry.entries());
    checkMetrics(folder.entries('mongosync_metrics.log'));
  };
  await within(TEST_MS, work(), 'the migration');
});

function checkLog(entries: readonly LogEntry[]): void {
  const find = (message: string): LogEntry[] => entries.filter((each) => each.message.includes(message));
  for (const { time } of entries) assert.match(time, TIME);
  for (const message of [
    'Version info',
    'Mongosync Options',
    'Starting initializing collections and indexes phase',
    'Starting initializing partitions phase',
    'Starting collection copy phase',
    'Completed writing 1 / 1 partitions to destination cluster',
    'Starting change event application phase',
    'Commit handler called',
  ])
    assert.is(find(message).length, 1, message);
  const [started] = find('Received request').filter(({ uri }) => uri === '/api/v1/start');
  assert.equal(JSON.parse(String(started?.['body'])), { source: 'cluster0', destination: 'cluster1' });
  const bodies = find('sent response').map(({ body }) => JSON.parse(String(body)) as Record<string, RestProgress>);
  const progress = bodies.filter((body) => 'progress' in body);
  assert.ok(progress.length > 0);
  for (const each of progress) assert.match(JSON.stringify(each['progress']), /"estimatedTotalBytes":\d/);
  const rates = find('Replication progress.');
  // They are charted over the times of the others.
  assert.equal(find('Operation duration stats.').length, rates.length);
  assert.ok(rates.length > 0);
  for (const each of rates) assert.ok('totalEventsApplied' in each && 'lagTimeSeconds' in each);
  for (const each of find('Operation duration stats.')) {
    for (const stage of [
      'CollectionCopySourceRead',
      'CollectionCopyDestinationWrite',
      'CEASourceRead',
      'CEADestinationWrite',
    ])
      for (const field of ['averageDurationMs', 'maximumDurationMs', 'numOperations'])
        assert.type((each[stage] as Record<string, unknown>)[field], 'number', `${stage}.${field}`);
  }
}

function checkMetrics(entries: readonly LogEntry[]): void {
  assert.ok(entries.length >= 2);
  for (const { time, message } of entries) {
    assert.match(time, TIME);
    for (const line of message.split('\n').filter((each) => each !== '' && !each.endsWith(' NaN')))
      assert.match(line, METRIC);
  }
  assert.match(entries.at(-1)?.message ?? '', 'mongoferry_state{state="COMMITTED"} 1');
}

test('what ends the process is said where who has started it looks, although the log is a file', async () => {
  const work = async () => {
    const port = await twoPorts(FIRST_PORT, LAST_PORT);
    const cluster1 = pair.destination.uri.replace(/replicaSet=[^&]*/, 'replicaSet=other');
    await using ferry = await ConfiguredFerry.start({ cluster0: pair.source.uri, cluster1, port });
    assert.is(await ferry.ended(), 2);
    assert.match(ferry.stdout.trim().split('\n').at(-1) ?? '', /cluster1.*replica set other/);
    const last = ferry.entries().findLast(({ level }) => level === 'fatal');
    assert.match(JSON.stringify(last?.['error']), /"message":"[^"]*replica set other/);
  };
  await within(TEST_MS, work(), 'the end');
});

test.run();
