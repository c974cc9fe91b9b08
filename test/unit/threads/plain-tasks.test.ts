import { MessageChannel } from 'node:worker_threads';
import fc from 'fast-check';
import { Binary, BSON, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Operation } from '../../../src/apply/operation.js';
import { packOperations, unpackOperations } from '../../../src/apply/operation-batch.js';
import { documentKey, idOfKey } from '../../../src/bson/document-key.js';
import { UNSHARDED } from '../../../src/bson/key-query.js';
import { uuidFrom } from '../../../src/bson/uuid.js';
import { isTransient, isWorthAnotherRun, TransientError, tagExhausted } from '../../../src/cluster/errors.js';
import type { CopyPosition, RangeOutcome, RangeTask } from '../../../src/copy/range-task.js';
import { AppError } from '../../../src/errors.js';
import { callKind, ThreadChannel } from '../../../src/lib/thread-channel.js';
import type { RangeScan } from '../../../src/matching/range-scanner.js';
import { type RangeProgress, SCAN } from '../../../src/matching/scan-worker.js';
import { threadErrors } from '../../../src/threads/thread-errors.js';
import { within } from '../../support/within.js';

const TEST_MS = 30_000;
const forever = new AbortController().signal;

function ends(): { readonly here: ThreadChannel; readonly there: ThreadChannel } & Disposable {
  const { port1, port2 } = new MessageChannel();
  const [here, there] = [new ThreadChannel(port1, threadErrors), new ThreadChannel(port2, threadErrors)];
  return { here, there, [Symbol.dispose]: () => port1.close() };
}

/** Objects as others are: what has no prototype gets one on its way. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const bytes = fc.uint8Array({ maxLength: 40 });
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 });
const ns = record({ db: fc.string(), coll: fc.string() });
const number = fc.nat();
const maybe = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(some, { nil: undefined });
const keyPaths = record({ source: fc.array(fc.string()), destination: fc.array(fc.string()) });
const position = record({ id: bytes, documents: number, bytes: number });
const marks = fc.array(record({ resumeAfter: bytes, process: fc.string(), documents: number, bytes: number }), {
  maxLength: 3,
});

const rangeTask: fc.Arbitrary<RangeTask> = record({
  ns,
  uuid,
  target: record({ ns, uuid, keyPaths }),
  lower: maybe(bytes),
  upper: maybe(bytes),
  natural: fc.boolean(),
  resumable: fc.boolean(),
  marks,
  position: maybe(position),
  isAgain: fc.boolean(),
  filter: maybe(bytes),
  ordered: fc.boolean(),
  estimatedBytes: number,
  behind: number,
  batchDocuments: number,
  afterTime: fc.tuple(number, number),
});
const place: fc.Arbitrary<CopyPosition> = fc.oneof(record({ position: maybe(position) }), record({ marks }));

const side = record({
  db: fc.string(),
  coll: fc.string(),
  uuid: maybe(uuid),
  after: maybe(fc.tuple(number, number)),
  isSharded: fc.boolean(),
});
const rangeScan: fc.Arbitrary<RangeScan> = record({
  source: side,
  destination: side,
  lower: maybe(bytes),
  upper: maybe(bytes),
  batchDocuments: number,
  filter: maybe(
    record({
      field: fc.string(),
      matchValues: fc.array(fc.oneof(fc.string(), fc.integer(), fc.constant({ $numberLong: '7' })), { maxLength: 3 }),
    }),
  ),
});
const scanProgress: fc.Arbitrary<RangeProgress> = fc.oneof(
  record({ read: fc.tuple(number, number) }),
  record({ differing: fc.array(bytes, { maxLength: 3 }) }),
);

const COPY = callKind<RangeTask, CopyPosition, RangeOutcome>('a copy');

test('tasks of the copy and of the verifier, with what is told of them, arrive as they were', async () => {
  using both = ends();
  both.there.serve(COPY, async (task, { tell }) => {
    for (const each of places) await tell(each);
    received.push(task);
    return 'restart';
  });
  both.there.serve(SCAN, async (scan, { tell }) => {
    for (const each of scans) await tell(each);
    received.push(scan);
    return 'moved';
  });
  let [places, scans, received]: [readonly CopyPosition[], readonly RangeProgress[], unknown[]] = [[], [], []];
  const check = fc.asyncProperty(
    fc.tuple(rangeTask, rangeScan, fc.array(place, { maxLength: 2 }), fc.array(scanProgress, { maxLength: 2 })),
    async ([task, scan, ...told]) => {
      [places, scans] = told;
      received = [];
      const heard: unknown[] = [];
      const options = { signal: forever, onProgress: (each: unknown) => void heard.push(each) };
      const answers = [await both.here.call(COPY, task, options), await both.here.call(SCAN, scan, options)];
      assert.equal(
        [answers, received, heard],
        [
          ['restart', 'moved'],
          [task, scan],
          [...places, ...scans],
        ],
      );
    },
  );
  await within(TEST_MS, fc.assert(check, { numRuns: 100 }), 'the property');
});

const idValue = fc.oneof(fc.string(), fc.integer(), fc.double(), record({ a: fc.integer() }));
const wholeKey = fc
  .tuple(idValue, fc.boolean())
  .map(([_id, isSharded]) => Buffer.from(BSON.serialize(isSharded ? { a: 1, _id } : { _id })));
const content = record({ n: fc.integer(), s: fc.string() }).map((doc) => Buffer.from(BSON.serialize(doc)));
const collections = [true, false].map((capped, index) => ({
  id: `${index}`.repeat(32),
  ns: { db: 'shop', coll: `to ${index}` },
  sourceNs: { db: 'shop', coll: `from ${index}` },
  name: `shop.from ${index}`,
  destinationUuid: index === 0 ? undefined : uuidFrom(Buffer.alloc(16, index)),
  capped,
  collated: !capped,
  keyPaths: capped ? UNSHARDED : { source: ['a'], destination: ['a', 'b'] },
}));
const operation: fc.Arbitrary<Operation> = record({
  collection: fc.constantFrom(...collections),
  kind: fc.constantFrom('put', 'replace', 'delta', 'delete', 'refetch'),
  wholeKey,
  content: maybe(content),
  further: fc.array(content, { maxLength: 2 }),
}).map(({ further, ...rest }) => {
  const own: Operation = { ...rest, id: idOfKey(rest.wholeKey) as Buffer, key: documentKey(rest.wholeKey) };
  return own.content === undefined || further.length === 0 ? own : { ...own, further };
});

const ECHO = callKind<ReturnType<typeof packOperations>, never, ReturnType<typeof packOperations>>('echo');

test('operations arrive as they were: with keys, kinds and collections, however large the replies they are parts of', async () => {
  using both = ends();
  both.there.serve(ECHO, async (batch) => packOperations(unpackOperations(batch)));
  const check = fc.asyncProperty(fc.array(operation, { maxLength: 20 }), async (operations) => {
    const batch = packOperations(operations);
    assert.is(
      batch.bytes.buffer.byteLength,
      operations.reduce((sum, each) => sum + sizeOf(each), 0),
    );
    const back = await both.here.call(ECHO, batch, {
      signal: forever,
      transfer: [batch.bytes.buffer, batch.numbers.buffer],
    });
    assert.equal(unpackOperations(back).map(readable), operations.map(readable));
  });
  await within(TEST_MS, fc.assert(check, { numRuns: 100 }), 'the property');
});

function sizeOf({ wholeKey: own, content: first, further = [] }: Operation): number {
  return [own, first, ...further].reduce((sum, each) => sum + (each?.length ?? 0), 0);
}

/** With bytes and UUIDs as texts, since the classes of what is compared would differ otherwise. */
function readable({ collection, id, wholeKey, content: first, further, ...rest }: Operation): unknown {
  const { destinationUuid, ...others } = collection;
  const uuidOf = destinationUuid instanceof Binary ? destinationUuid.toString('hex') : destinationUuid;
  const texts = [id, wholeKey, first, ...(further ?? [])].map((each) => each?.toString('hex'));
  return { ...rest, ...others, uuidOf, texts };
}

const FAIL = callKind<number>('fail');

test('errors arrive with their names, metadata and violations, as transient and as worth another run as they were', async () => {
  using both = ends();
  const exhausted = new AppError('ClusterUnreachable', 'for half an hour');
  tagExhausted(exhausted);
  const driver = new MongoServerError({ message: 'not primary', code: 10107 });
  const errors: readonly Error[] = [
    new AppError('LeaseLost', 'gone', { metadata: { a: 'b' } }),
    new AppError('InvalidRequest', 'bad', { violations: [{ field: 'x', description: 'y' }], moreViolations: 3 }),
    new AppError('ClusterUnreachable', 'away'),
    exhausted,
    new AppError('CommandRefused', 'refused'),
    new TypeError('a bug'),
    driver,
    new TransientError('wait'),
  ];
  both.there.serve(FAIL, async (index) => {
    throw errors[index];
  });
  const arrived: (AppError | TransientError)[] = [];
  for (const index of errors.keys()) {
    const error = await both.here.call(FAIL, index, { signal: forever }).catch((cause: unknown) => cause);
    arrived.push(error as AppError | TransientError);
  }
  assert.equal(
    arrived.map((each) => [
      each instanceof AppError ? each.code : 'TransientError',
      isTransient(each),
      isWorthAnotherRun(AppError.from(each)),
    ]),
    [
      ['LeaseLost', false, false],
      ['InvalidRequest', false, false],
      ['ClusterUnreachable', false, true],
      ['ClusterUnreachable', false, false],
      ['CommandRefused', false, true],
      ['Internal', false, false],
      ['TransientError', true, false],
      ['TransientError', true, false],
    ],
  );
  assert.ok(arrived.slice(0, 6).every((each) => each instanceof AppError));
  assert.ok(arrived.slice(6).every((each) => each instanceof TransientError));
  const [lost, invalid] = arrived as AppError[] as [AppError, AppError];
  assert.equal([lost.message, lost.metadata], ['gone', { a: 'b' }]);
  assert.equal([invalid.violations, invalid.moreViolations], [[{ field: 'x', description: 'y' }], 3]);
});

test.run();
