import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isSecretKey, redactAndCut, redactDocuments, redactSecretValue, redactText } from '../../../src/lib/redact.js';

const SECRET = 'hunter2';
const leaking = [
  `mongodb://ann:${SECRET}@db.example:27017/?replicaSet=a`,
  `mongodb+srv://ann:${SECRET}@db.example`,
  `mongodb://ann:pa/ss${SECRET}@db.example/x`,
  `mongodb://ann:p@ss${SECRET}@db.example/x`,
  `mongodb://ann:p?${SECRET}#@db.example`,
  `cannot connect to "mongodb://ann:${SECRET}@a,b,c/?w=1", giving up`,
  `https://user:${SECRET}@collector.example/v1/traces`,
  `https://${SECRET}@collector.example/`,
  `mongodb://h/?tls=true&tlsCertificateKeyFilePassword=${SECRET}&x=1`,
  `mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:${SECRET}`,
  `Authorization: Bearer ${SECRET}abc`,
  `authorization=Basic ${SECRET}`,
  `sent header Bearer ${SECRET}`,
  `password: ${SECRET}`,
  `{"password":"${SECRET}"}`,
  `E11000 duplicate key error collection: a.b index: x dup key: { x: "${SECRET}", y: { z: 1 } }`,
];

for (const text of leaking) {
  test(`hides the secret of: ${text}`, () => {
    const redacted = redactText(text);
    assert.not.match(redacted, SECRET);
    assert.is(redactText(redacted), redacted, 'redacting twice changes nothing');
  });
}

test('hides an authorization header whatever the token looks like', () => {
  assert.is(redactText('Authorization: Bearer letters, then'), 'Authorization: [redacted], then');
});

test('keeps what is not secret', () => {
  for (const text of [
    'mongodb://db.example:27017,db2.example/?replicaSet=a',
    'copied shop.orders to cluster1: 12 documents, mail to a@b.example',
    'see https://example.org/docs?page=1',
    'the basic plan: bearer of news',
  ]) {
    assert.is(redactText(text), text);
  }
  assert.match(redactText(`mongodb://ann:${SECRET}@db.example:27017/?replicaSet=a`), 'db.example:27017/?replicaSet=a');
});

test('knows the names of secrets', () => {
  for (const key of [
    'password',
    'Authorization',
    'authToken',
    'auth_token',
    'resumeToken',
    'clientSecret',
    'api-key',
    'cookie',
  ]) {
    assert.is(isSecretKey(key), true, key);
  }
  for (const key of ['cluster', 'tokens', 'database', 'passed', 'secretary']) assert.is(isSecretKey(key), false, key);
  assert.is(redactSecretValue('x'), '[redacted]');
  assert.is(redactSecretValue(7), 7, 'a fencing token is a number, and no secret');
});

test('cuts the documents out of a server message', () => {
  assert.is(
    redactDocuments('Cannot apply $inc to {_id: 1, a: {b: "x"}} at path { a: 1 }: bad'),
    'Cannot apply $inc to {…',
  );
  // The server does not escape what a string holds.
  assert.not.match(redactDocuments('bad geo keys: { a: "}", b: "secret" }'), 'secret');
  assert.not.match(redactDocuments('in array [ "secret" ] of'), 'secret');
  assert.not.match(redactDocuments('never closed { secret: "x"'), 'secret');
});

test('takes time in proportion to the text, whatever it holds', () => {
  const timeOf = (text: string): number => {
    const began = performance.now();
    redactText(text);
    return performance.now() - began;
  };
  const length = 500_000;
  const plain = timeOf('word '.repeat(length / 5));
  for (const part of [
    'a.',
    'mongodb://',
    'mongodb://a:',
    'x://',
    'dup key: {',
    'Bearer ',
    'password',
    'password = ',
    '?token=',
  ]) {
    const ms = timeOf(part.repeat(length / part.length));
    assert.ok(ms < 50 * plain + 1000, `${part}: ${ms} ms, plain text ${plain} ms`);
  }
});

test('a text that is cut shows no beginning of a secret', () => {
  const cut = redactAndCut(
    `${`mongodb://ann:${'p'.repeat(200)}@h `.repeat(50)}mongodb://ann:${SECRET.repeat(500)}@h`,
    8192,
  );
  assert.not.match(cut, SECRET);
  assert.ok(cut.length < 8300);
  assert.is(redactAndCut('x'.repeat(9000), 8192), `${'x'.repeat(8192)}… (9000 characters)`);
});

test.run();
