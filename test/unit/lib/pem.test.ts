import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { certificateKeyProblem, certificatesProblem, validityOf } from '../../../src/lib/pem.js';
import { tokenProblem } from '../../../src/lib/token.js';
import { runTool } from '../../support/run-tool.js';
import { certify, makeAuthority, SERVER_EXTENSION } from '../../support/tls-files.js';
import { within } from '../../support/within.js';

const folder = await mkdtemp(path.join(os.tmpdir(), 'mongoferry-pem-'));
test.after(() => rm(folder, { recursive: true, force: true }));

const made = async () => {
  const ca = await makeAuthority(folder, undefined);
  const a = await certify(folder, { name: 'a', extension: SERVER_EXTENSION }, undefined);
  const b = await certify(folder, { name: 'b', extension: SERVER_EXTENSION, days: -1 }, undefined);
  const encrypted = path.join(folder, 'encrypted.key');
  const key = ['-in', path.join(folder, 'a.key'), '-out', encrypted, '-passout', 'pass:hunter2hunter2'];
  await runTool('openssl', ['pkcs8', '-topk8', ...key]);
  const read = (file: string) => readFile(file, 'utf8');
  const [crt, otherKey] = [path.join(folder, 'a.crt'), path.join(folder, 'b.key')];
  return {
    ca: await read(ca),
    good: await read(a),
    expired: await read(b),
    crt: await read(crt),
    otherKey: await read(otherKey),
    encrypted: await read(encrypted),
  };
};
const texts = await within(60_000, made(), 'the certificates');

const unusable: [string, string, RegExp][] = [
  ['nothing', '', /no private key/],
  ['a certificate alone', texts.crt, /no private key/],
  ['a key alone', texts.otherKey, /no certificate/],
  ['an encrypted key', texts.crt + texts.encrypted, /encrypted private key/],
  ['the key of another certificate', texts.crt + texts.otherKey, /cannot be used: key values mismatch/],
  ['a certificate cut short', texts.good.replace(/(?<=BEGIN CERTIFICATE-----\n)[^-]{200}/, ''), /cannot be read/],
];
for (const [what, text, expected] of unusable) {
  test(`${what} is no certificate with its key, and nothing of it is shown`, () => {
    const problem = certificateKeyProblem(text) ?? '';
    assert.match(problem, expected);
    assert.ok(problem.length < 120, problem);
  });
}

test('a certificate with its key, in any order, can be used; an expired one tells so', () => {
  assert.is(certificateKeyProblem(texts.good), undefined);
  assert.is(certificateKeyProblem(texts.good + texts.ca), undefined);
  assert.is(certificateKeyProblem(texts.expired), undefined);
  assert.ok(validityOf(texts.expired).to.getTime() < Date.now());
  assert.ok(validityOf(texts.good).to.getTime() > Date.now());
});

test('authorities are any number of certificates', () => {
  assert.is(certificatesProblem(texts.ca + texts.crt), undefined);
  assert.match(certificatesProblem('hello') ?? '', /no certificate/);
});

test('a token is one word that cannot be guessed or break a header', () => {
  assert.is(tokenProblem('0123456789abcdef'), undefined);
  assert.match(tokenProblem('') ?? '', /no token/);
  assert.match(tokenProblem('0123456789abcde') ?? '', /less than 16/);
  assert.match(tokenProblem('x'.repeat(4097)) ?? '', /more than 4096/);
  for (const odd of ['0123456789 abcdef', '0123456789abcdef\nx', '0123456789abcdefé'])
    assert.match(tokenProblem(odd) ?? '', /visible ASCII/);
});

test.run();
