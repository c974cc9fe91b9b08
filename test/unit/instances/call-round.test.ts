import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Called, gather, gatheringText } from '../../../src/instances/call-round.js';
import type { GivenCall } from '../../../src/instances/records.js';

const ROUND = 3;

function instance(id: string, ...calls: Partial<GivenCall>[]): Called {
  return { id, calls: calls.map((each) => ({ event: 'commit', round: ROUND, forAll: false, ...each })) };
}

test('a call to the only instance is complete', () => {
  assert.ok(gather('commit', ROUND, [instance('a', {})]).isComplete);
});

test('a call that nobody was given is not', () => {
  const gathered = gather('commit', ROUND, [instance('a')]);
  assert.not.ok(gathered.isComplete);
  assert.is(gatheringText('commit', gathered), undefined);
});

test('who is missing is told', () => {
  const gathered = gather('commit', ROUND, [instance('a', {}), instance('b'), instance('c')]);
  assert.not.ok(gathered.isComplete);
  const text = 'commit has been called on a; it takes effect once it is called on b, c, too';
  assert.is(gatheringText('commit', gathered), text);
});

test('calls of an earlier round, and of another kind, count no more', () => {
  const others = [instance('a', {}), instance('b', { round: ROUND - 1 }), instance('c', { event: 'reverse' })];
  assert.equal(gather('commit', ROUND, others).missing, ['b', 'c']);
});

test('one that counts for all completes it', () => {
  const gathered = gather('commit', ROUND, [instance('a'), instance('b', { forAll: true })]);
  assert.ok(gathered.isComplete);
  assert.is(gatheringText('commit', gathered), undefined);
});

test.run();
