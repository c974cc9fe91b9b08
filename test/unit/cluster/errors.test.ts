import { MongoNetworkError, MongoServerClosedError, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  clusterError,
  isDocumentFault,
  isIndexFault,
  isTransient,
  isWorthAnotherRun,
  safeText,
  statementError,
  TransientError,
  tagExhausted,
} from '../../../src/cluster/errors.js';
import { AppError, ERRORS, type ErrorName, ExitCode } from '../../../src/errors.js';

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
    assert.not.match(clusterError(serverError(text), 'writing').message, 'Secret');
    assert.not.match(safeText(text), 'Secret');
  }
  assert.match(safeText(serverError("Can't extract geo keys: { a: 1 }")), "Can't extract geo keys");
  assert.match(safeText(new MongoNetworkError('connect ECONNREFUSED [::1]:27017')), '27017');
});

test('what no server has answered is a bug of ours, and no failure of the migration', () => {
  assert.is(clusterError(new TypeError('x is undefined'), 'applying').code, 'Internal');
  assert.is(clusterError(serverError('no such option', 72), 'applying').code, 'CommandRefused');
  assert.is(clusterError(serverError('not authorized', 13), 'applying').code, 'MissingPrivilege');
});

test('an operation that an operator has killed is tried again', () => {
  assert.ok(isTransient(serverError('operation was interrupted', 11601)));
  assert.is(clusterError(serverError('interrupted', 11601), 'applying').code, 'ClusterUnreachable');
});

test('what is to be tried again has a class of its own, and only its end is told as an outage', () => {
  const error = new TransientError('an index build stands in the way');
  assert.ok(isTransient(error));
  assert.is(clusterError(error, 'applying').code, 'ClusterUnreachable');
  assert.not.ok(isTransient(clusterError(error, 'applying')), 'the trying is over');
  assert.not.ok(isTransient(new AppError('ClusterUnreachable', 'away for 30 minutes')));
});

test('an error that no cluster gave names none', () => {
  assert.is(clusterError(new TransientError('no'), 'applying').message, 'applying: no');
});

test('a command that was on its way to a member that left the set is tried again', () => {
  assert.ok(isTransient(new MongoServerClosedError()));
});

/** What is done about a code: of a command, and of one statement in a reply. */
const CODES: readonly [codes: readonly number[], command: ErrorName, statement: ErrorName | 'TransientError'][] = [
  // The server's own condition: the command is sent again.
  [[18, 355, 365, 1, 8, 46, 93, 94, 96, 100, 117, 211, 279, 462, 14031], 'ClusterUnreachable', 'TransientError'],
  [[6, 7, 64, 91, 112, 189, 10107, 11600, 13435], 'ClusterUnreachable', 'TransientError'],
  // The document's own fault, or that of an index: nothing but another one helps.
  [[2, 9, 14, 28, 52, 66, 121, 171, 10334, 11000, 17280, 16755, 4770501], 'CommandRefused', 'WriteRefused'],
  // Everything else, known or not: the run begins again.
  [[20, 72, 73, 101, 188, 332, 371, 9999, 12587, 13297, 16500], 'CommandRefused', 'CommandRefused'],
];

test("every code passes, or has work begin again, but for what is proven to be a document's fault", () => {
  for (const [codes, command, statement] of CODES) {
    for (const code of codes) {
      const ofCommand = clusterError(serverError('no', code), 'applying');
      assert.is(ofCommand.code, command, `command ${code}`);
      assert.is(isTransient(serverError('no', code)), command === 'ClusterUnreachable', `${code}`);
      assert.match(ofCommand.message, `(code ${code})`);
      assert.ok(isWorthAnotherRun(ofCommand), `${code}`);
      assert.is(ofCommand.row.exit, ExitCode.retryable, `${code} is never stored`);
      const ofStatement = statementError('the insert', { code, text: 'no' });
      assert.is(ofStatement instanceof AppError ? ofStatement.code : ofStatement.name, statement, `statement ${code}`);
      assert.is(isDocumentFault(code), statement === 'WriteRefused', `${code}`);
    }
  }
});

test('an index cannot be built for what it is or holds, never for the condition of the server', () => {
  for (const code of [67, 85, 86, 197, 359, 171, 16755, 11000]) assert.ok(isIndexFault(code), `${code}`);
  for (const code of [1, 8, 112, 276, 279, 285, 12587, 13388, 14031, 11602])
    assert.not.ok(isIndexFault(code), `${code}`);
});

test('what has been waited for as long as anything is does not have the work begin again', () => {
  const cause = serverError('not primary', 10107);
  assert.ok(isWorthAnotherRun(clusterError(cause, 'applying')));
  tagExhausted(cause);
  assert.not.ok(isWorthAnotherRun(clusterError(cause, 'applying')));
});

test('dead ends, refusals of a preflight, lost leases and bugs do not have the work begin again', () => {
  const passing = new Set<ErrorName>(['CommandRefused', 'MissingPrivilege', 'ClusterUnreachable', 'WritesBlocked']);
  for (const name of Object.keys(ERRORS) as ErrorName[])
    assert.is(isWorthAnotherRun(new AppError(name, 'text')), passing.has(name), name);
});

test.run();
