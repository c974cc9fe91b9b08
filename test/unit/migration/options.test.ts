import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { oplogRemainingText } from '../../../src/migration/oplog-remaining.js';
import { BUILD_INDEXES, resolveStartOptions, type StartOptions } from '../../../src/migration/options.js';
import { DEFAULT_START } from '../../support/migration-harness.js';

function violationsOf(options: Partial<StartOptions>): string[] {
  try {
    resolveStartOptions({ ...DEFAULT_START, ...options });
    return [];
  } catch (error) {
    assert.instance(error, AppError);
    assert.is((error as AppError).code, 'InvalidRequest');
    return (error as AppError).violations.map((each) => each.field);
  }
}

test('defaults are filled in', () => {
  const options = resolveStartOptions(DEFAULT_START);
  assert.is(options.buildIndexes, 'afterDataCopy');
  assert.is(options.writeBlocking, 'destinationOnly');
});

test('the 1.0 reference booleans work as they did there', () => {
  assert.is(
    resolveStartOptions({ ...DEFAULT_START, enableUserWriteBlocking: false, reversible: false }).writeBlocking,
    'none',
  );
  assert.equal(violationsOf({ enableUserWriteBlocking: true }), ['enableUserWriteBlocking']);
});

for (const buildIndexes of BUILD_INDEXES) {
  test(`buildIndexes "${buildIndexes}" is taken`, () => {
    assert.is(resolveStartOptions({ ...DEFAULT_START, buildIndexes }).buildIndexes, buildIndexes);
  });
}

test('every violation is reported at once', () => {
  assert.equal(violationsOf({ source: '', destination: 'cluster7', buildIndexes: 'sometimes' }), [
    'source',
    'destination',
    'buildIndexes',
  ]);
});

test('source and destination must differ', () => {
  assert.equal(violationsOf({ destination: 'cluster0' }), ['destination']);
});

const LATER: readonly [string, Partial<StartOptions>][] = [
  ['enableUserWriteBlocking', { enableUserWriteBlocking: 'sourceAndDestination' }],
  ['reversible', { reversible: true }],
  ['includeNamespaces', { includeNamespaces: [{ database: 'a', collections: [] }] }],
  ['excludeNamespaces', { excludeNamespaces: [{ database: 'a', collections: [] }] }],
  ['copyInNaturalOrder', { copyInNaturalOrder: [{ database: '.', collections: [] }] }],
  ['detectRandomId', { detectRandomId: true }],
  ['preExistingDestinationData', { preExistingDestinationData: true }],
  ['sharding', { sharding: { createSupportingIndexes: false, shardingEntries: [] } }],
  ['verification.enabled', { verification: { enabled: true } }],
  ['namespaceRemap', { namespaceRemap: [{ from: 'a', to: 'b' }] }],
  ['documentFilter', { documentFilter: { field: 'a', matchValues: [1] } }],
];

for (const [field, options] of LATER) {
  test(`${field}, which this version cannot honour, is refused by name rather than ignored`, () => {
    assert.equal(violationsOf(options), [field]);
  });
}

test('the remaining oplog time is told in mongosync’s words', () => {
  assert.is(oplogRemainingText(undefined), 'not checked yet');
  assert.is(oplogRemainingText(60), 'less than 15 minutes');
  assert.is(oplogRemainingText(45 * 60), '45 minutes');
  assert.is(oplogRemainingText(3600), '1 hour');
  assert.is(oplogRemainingText(12 * 3600), '12 hours');
  assert.is(oplogRemainingText(80 * 3600), 'more than 72 hours');
});

test.run();
