import { MongoNetworkError, MongoServerClosedError, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clusterError, isTransient, safeText } from '../../../src/cluster/errors.js';

function serverError(message: string, code = 1): MongoServerError {
  return new MongoServerError({ message, code });
}

test('a server error says nothing of the document that it quotes', () => {
  for (const text of [
    `Can't extract geo keys: { _id: 1, name: "Secret", a: "}" } unknown GeoJSON type: { type: "Secret" }`,
    'E11000 duplicate key error collection: a.b index: c_1 dup key: { c: "Secret" }',
    'cannot index parallel arrays [Secret] [x]',
    'Plan executor error during update :: caused by :: found value Secret',
  ]) {
    assert.not.match(safeText(serverError(text)), 'Secret');
    assert.not.match(clusterError(serverError(text), 'cluster1', 'writing').message, 'Secret');
    assert.not.match(safeText(text), 'Secret');
  }
  assert.match(safeText(serverError("Can't extract geo keys: { a: 1 }")), "Can't extract geo keys");
  assert.match(safeText(new MongoNetworkError('connect ECONNREFUSED [::1]:27017')), '27017');
});

test('what no server has answered is a bug of ours, and no failure of the migration', () => {
  assert.is(clusterError(new TypeError('x is undefined'), 'cluster1', 'applying').code, 'Internal');
  assert.is(clusterError(serverError('no such option', 72), 'cluster1', 'applying').code, 'MigrationFailed');
  assert.is(clusterError(serverError('not authorized', 13), 'cluster1', 'applying').code, 'MissingPrivilege');
});

test('an operation that an operator has killed is tried again', () => {
  assert.ok(isTransient(serverError('operation was interrupted', 11601)));
  assert.is(clusterError(serverError('interrupted', 11601), 'cluster1', 'applying').code, 'ClusterUnreachable');
});

test('a command that was on its way to a member that left the set is tried again', () => {
  assert.ok(isTransient(new MongoServerClosedError()));
});

test.run();
