import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDoors } from '../support/api-doors.js';
import { FakeControl, fakeNamespace, RUNNING_SNAPSHOT } from '../support/fake-control.js';

type Json = Record<string, unknown>;

const at = (document: unknown, ...path: string[]): Json =>
  path.reduce<Json>((node, key) => (node[key] ?? {}) as Json, document as Json);

test('describes every path that is served, with the comments of proto/', async () => {
  await using doors = await openDoors();
  const { json } = await doors.http({ path: '/openapi.json' });
  assert.is(json['openapi'], '3.1.0');
  assert.equal(Object.keys(at(json, 'paths')).sort(), [
    '/api/v1/check',
    '/api/v1/commit',
    '/api/v1/mismatches',
    '/api/v1/namespaces',
    '/api/v1/pause',
    '/api/v1/progress',
    '/api/v1/progress/stream',
    '/api/v1/repair',
    '/api/v1/resume',
    '/api/v1/reverse',
    '/api/v1/start',
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/readyz',
  ]);
  for (const [path, verbs] of Object.entries(at(json, 'paths'))) {
    for (const [verb, operation] of Object.entries(verbs as Json)) {
      const answer = await doors.http({ path, method: verb === 'get' ? 'HEAD' : verb.toUpperCase(), body: 'x' });
      assert.not.equal([404, 405].includes(answer.status), true, `${verb} ${path}`);
      assert.ok((operation as Json)['summary'], path);
      assert.ok(at(operation, 'responses')['default'], path);
    }
  }
  assert.match(
    String(at(json, 'components', 'schemas', 'StartRequest', 'properties', 'detectRandomId')['description']),
    /^Whether large/,
  );
});

test('says integer for 64-bit numbers, null and absence as they are written, and resolves every reference', async () => {
  await using doors = await openDoors();
  const { json, text } = await doors.http({ path: '/openapi.json' });
  const schemas = at(json, 'components', 'schemas');
  for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g))
    assert.ok(name !== undefined && schemas[name], name);
  const snapshot = at(schemas, 'ProgressSnapshot');
  assert.equal(at(snapshot, 'properties', 'lagTimeSeconds')['anyOf'], [
    { type: 'integer', format: 'int64' },
    { type: 'null' },
  ]);
  const required = snapshot['required'] as string[];
  for (const name of ['state', 'canCommit', 'info', 'details']) assert.ok(required.includes(name), name);
  for (const name of ['warnings', 'estimatedSecondsToCEACatchup']) assert.not.ok(required.includes(name), name);
  assert.equal(at(schemas, 'Sharding')['required'], ['shardingEntries']);
  assert.is(at(schemas, 'NamespaceFilter', 'properties', 'collections')['minItems'], 1);
});

test('an answer of progress fits its schema', async () => {
  const control = new FakeControl(RUNNING_SNAPSHOT);
  control.namespaceList = [fakeNamespace('a.b', 1)];
  await using doors = await openDoors(control);
  const schemas = at((await doors.http({ path: '/openapi.json' })).json, 'components', 'schemas');
  const { json } = await doors.http({ path: '/api/v1/progress' });
  check(json['progress'], at(schemas, 'ProgressSnapshot'), schemas, 'progress');
});

/** As much of JSON Schema as the document uses. */
function check(value: unknown, schema: Json, schemas: Json, path: string): void {
  const reference = schema['$ref'];
  const anyOf = schema['anyOf'] as Json[] | undefined;
  if (typeof reference === 'string') check(value, at(schemas, reference.split('/').at(-1) ?? ''), schemas, path);
  else if (anyOf !== undefined) {
    if (value !== null) check(value, anyOf[0] ?? {}, schemas, path);
  } else if (schema['type'] === 'array') {
    assert.ok(Array.isArray(value), path);
    for (const item of value as unknown[]) check(item, at(schema, 'items'), schemas, `${path}[]`);
  } else if (schema['type'] === 'object') {
    const properties = at(schema, 'properties');
    for (const name of (schema['required'] ?? []) as string[])
      assert.ok(Object.hasOwn(value as Json, name), `${path}.${name}`);
    for (const [name, member] of Object.entries(value as Json)) {
      assert.ok(properties[name], `${path}.${name} is not in the schema`);
      check(member, at(properties, name), schemas, `${path}.${name}`);
    }
  } else assert.is(schema['type'] === 'integer' ? 'number' : schema['type'], typeof value, path);
}

test.run();
