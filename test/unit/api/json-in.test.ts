import { fromBinary, toJson } from '@bufbuild/protobuf';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../../gen/mongoferry/v1/start_options.js';
import { messageType } from '../../../src/api/descriptors.js';
import { encodeJsonRequest } from '../../../src/api/json/json-in.js';
import { parseJsonText } from '../../../src/api/json/json-text.js';

const START = messageType('mongoferry.v1.StartRequest');

const violated = (text: string): string[] => {
  const parsed = parseJsonText(text);
  return [...parsed.violations, ...encodeJsonRequest(START, parsed.value).violations].map(({ field }) => field);
};

test('every violation is found, with its path, and what is right is kept', () => {
  const body = `{
    "source": "cluster0", "destination": 1, "reversible": "false", "buildIndexes": true, "includeNamespaces": "abc",
    "excludeNamespaces": [null, {"database": "a", "collection": ["x"]}, {"database": "b", "collections": []}],
    "verification": [], "sharding": {}, "unknown": {"a": 1}
  }`;
  assert.equal(violated(body), [
    'destination',
    'reversible',
    'buildIndexes',
    'includeNamespaces',
    'excludeNamespaces[0]',
    'excludeNamespaces[1].collection',
    'excludeNamespaces[2].collections',
    'verification',
    'sharding.shardingEntries',
    'unknown',
  ]);
  const { bytes } = encodeJsonRequest(START, parseJsonText(body).value);
  const kept = StartRequest.decode(bytes);
  assert.is(kept.source, 'cluster0');
  assert.is(kept.destination, '');
  assert.is(kept.reversible, undefined);
  assert.is(kept.excludeNamespaces.length, 2);
});

test('null means absent, for every field', () => {
  const nulls = Object.fromEntries(START.fields.map(({ jsonName }) => [jsonName, null]));
  const { bytes, violations } = encodeJsonRequest(START, nulls);
  assert.equal(violations, []);
  assert.is(bytes.byteLength, 0);
});

test('a name in the style of proto is pointed to the one in JSON', () => {
  const { violations } = encodeJsonRequest(START, { build_indexes: 'never' });
  assert.equal(violations, [
    { field: 'build_indexes', description: 'is not a known field; it is written "buildIndexes"' },
  ]);
});

test('names of fields are taken in any case of letters, at every depth', () => {
  const body = {
    Source: 'cluster0',
    DESTINATION: 'cluster1',
    IncludeNamespaces: [{ Database: 'a', COLLECTIONS: ['B'] }],
    documentfilter: { Field: 'Tenant', matchvalues: [{ Red: 1 }] },
  };
  const { bytes, violations } = encodeJsonRequest(START, body);
  assert.equal(violations, []);
  const read = StartRequest.decode(bytes);
  assert.equal([read.source, read.destination], ['cluster0', 'cluster1']);
  assert.equal(read.includeNamespaces[0]?.database, 'a');
  assert.equal(read.includeNamespaces[0]?.collections, ['B']);
  assert.equal([read.documentFilter?.field, read.documentFilter?.matchValues], ['Tenant', [{ Red: 1 }]]);
});

test('one field under two names is an error, unless one of them is null', () => {
  const both = { source: 'cluster0', Source: 'cluster1', verification: { enabled: true, Enabled: false } };
  assert.equal(encodeJsonRequest(START, both).violations, [
    { field: 'source', description: 'is given more than once, as "source" and as "Source"' },
    { field: 'verification.enabled', description: 'is given more than once, as "enabled" and as "Enabled"' },
  ]);
  for (const one of [
    { source: null, Source: 'cluster1' },
    { Source: 'cluster1', source: null },
  ]) {
    const { bytes, violations } = encodeJsonRequest(START, one);
    assert.equal(violations, []);
    assert.is(StartRequest.decode(bytes).source, 'cluster1');
  }
});

test('shardingEntries may be empty but not absent', () => {
  assert.equal(violated('{"sharding": {"shardingEntries": []}}'), []);
  assert.equal(violated('{"sharding": {"shardingEntries": null}}'), ['sharding.shardingEntries']);
});

test('both forms of write blocking arrive as they are', () => {
  for (const value of [true, false, 'none']) {
    const { bytes } = encodeJsonRequest(START, { enableUserWriteBlocking: value });
    assert.is(StartRequest.decode(bytes).enableUserWriteBlocking, value);
  }
});

test('values nested as deep as the parser lets them be are encoded', () => {
  const deep = `${'{"a":'.repeat(27)}1${'}'.repeat(27)}`;
  const { value } = parseJsonText(`{"documentFilter": {"field": "a", "matchValues": [${deep}]}}`);
  const { bytes, violations } = encodeJsonRequest(START, value);
  assert.equal(violations, []);
  assert.equal(toJson(START, fromBinary(START, bytes)), value);
  assert.ok(StartRequest.decode(bytes));
});

test('bodies that are no object are refused', () => {
  for (const value of [[], 'x', 1, true, null]) {
    assert.equal(
      encodeJsonRequest(START, value).violations.map(({ description }) => description),
      ['the body must be a JSON object'],
    );
  }
});

test.run();
