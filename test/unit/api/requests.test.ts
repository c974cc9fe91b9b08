import type { JsonValue } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../../gen/mongoferry/v1/start_options.js';
import { messageType, syncService } from '../../../src/api/descriptors.js';
import { encodeJsonRequest } from '../../../src/api/json/json-in.js';
import { Violations } from '../../../src/api/violations.js';
import { checkMatchValues } from '../../../src/api/wire/match-values.js';
import { readProgressRequest, readStartRequest } from '../../../src/api/wire/read-requests.js';
import { AppError } from '../../../src/errors.js';

const onlyInvalidRequest = (work: () => unknown): void => {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === 'InvalidRequest', String(error));
    assert.ok(error.violations.length > 0);
  }
};

test('any bytes are a request or an invalid one, never a crash', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      onlyInvalidRequest(() => readStartRequest({ bytes }));
      onlyInvalidRequest(() => readProgressRequest({ bytes }));
    }),
    { numRuns: 5000 },
  );
});

test('a good request with some bytes changed is a request or an invalid one', () => {
  const good = StartRequest.encode(
    StartRequest.create({
      source: 'cluster0',
      destination: 'cluster1',
      enableUserWriteBlocking: 'none',
      includeNamespaces: [{ databaseRegex: { pattern: 'a' }, collections: ['b'] }],
      sharding: { shardingEntries: [{ database: 'a', collection: 'b', shardCollection: { key: [{ a: 1 }] } }] },
      documentFilter: { field: 'a', matchValues: [1, { $oid: '0'.repeat(24) }] },
    }),
  ).finish();
  const change = fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(good.length), (changes, length) => {
      const bytes = Uint8Array.from(good.subarray(0, length));
      for (const [at, byte] of changes) if (at < length) bytes[at] = byte;
      onlyInvalidRequest(() => readStartRequest({ bytes }));
    }),
    { numRuns: 5000 },
  );
});

test('any JSON is encoded, what is wrong in it left out', () => {
  const names = [...syncService.methods.map(({ input }) => input), messageType('mongoferry.v1.NamespaceFilter')];
  const fields = names.flatMap((type) => type.fields.map(({ jsonName }) => jsonName));
  const { value } = fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<JsonValue>(null, true, 1, -1, 1.5, 1e300, 'a', '1s', 'ALL', '', 'hashed'),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...fields, 'pattern', 'a', 'constructor'), tie('value'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(fc.constantFrom(...syncService.methods), value, (method, json) => {
      const violations = new Violations();
      const { bytes } = encodeJsonRequest(method.input, json as JsonValue, violations);
      if (method.name === 'Start') onlyInvalidRequest(() => readStartRequest({ bytes, violations }));
    }),
    { numRuns: 3000 },
  );
});

const problemsOf = (value: unknown): number => {
  const violations = new Violations();
  checkMatchValues([value], 'matchValues', violations);
  return violations.all.length;
};

for (const value of [
  1,
  -1.5,
  2 ** 53 - 1,
  'a',
  true,
  { $numberInt: '-2147483648' },
  { $numberLong: '9223372036854775807' },
  { $numberDouble: '-Infinity' },
  { $numberDecimal: '1.10' },
  { $numberDecimal: '1e6144' },
  { $oid: '507f1f77bcf86cd799439011' },
  { $date: '2026-01-02T03:04:05Z' },
  { $date: '2024-02-29T03:04:05.678+01:00' },
  { $date: { $numberLong: '-1' } },
  { $binary: { base64: 'AQID', subType: '00' } },
  { $binary: { base64: 'AAECAwQFBgcICQoLDA0ODw==', subType: '04' } },
  { $uuid: '00112233-4455-6677-8899-aabbccddeeff' },
]) {
  test(`a filter may hold ${JSON.stringify(value)}`, () => assert.is(problemsOf(value), 0));
}

for (const value of [
  2 ** 53,
  -(2 ** 53),
  1e300,
  Number.NaN,
  null,
  undefined,
  [],
  {},
  { a: 1 },
  { constructor: 1 },
  { $oid: 'x' },
  { $numberLong: 1 },
  { $numberLong: '1', a: 1 },
  { $numberInt: '9999999999' },
  { $numberInt: '2147483648' },
  { $numberLong: '9223372036854775808' },
  { $numberDouble: '1e999' },
  { $numberDecimal: '1.2.3' },
  { $numberDecimal: '.' },
  { $numberDecimal: '1e7000' },
  { $numberDecimal: `1${'2'.repeat(40)}` },
  { $date: 'yesterday' },
  { $date: '2026-01-02T03:04:05' },
  { $date: '2026-02-31T03:04:05Z' },
  { $date: '2026-01-02T03:04:05.123456Z' },
  { $date: { $numberLong: '9223372036854775807' } },
  { $uuid: '00112233-4455-6677-8899-aabbccddee' },
  { $binary: 'AQID' },
  { $binary: { base64: 'AQI', subType: '00' } },
  { $binary: { base64: 'A', subType: '00' } },
  { $binary: { base64: 'AQID', subType: '04' } },
  { $regex: 'a' },
  { $undefined: true },
]) {
  test(`a filter may not hold ${JSON.stringify(value) ?? value}`, () => assert.is(problemsOf(value), 1));
}

test.run();
