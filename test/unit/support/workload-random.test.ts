import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../support/workload-random.js';

test('one seed gives the same numbers, another one others', () => {
  const numbers = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 20 }, () => random.int(1000));
  };
  assert.equal(numbers(1), numbers(1));
  assert.not.equal(numbers(1), numbers(2));
  assert.not.equal(numbers(1), numbers(1001));
});

test('numbers cover their range evenly and stay within it', () => {
  const random = new Random(3);
  const counts = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 10_000; draw++) {
    const n = random.int(10);
    counts[n] = (counts[n] ?? 0) + 1;
  }
  assert.is(counts.length, 10);
  for (const count of counts) assert.ok(count > 800 && count < 1200, `${counts}`);
});

test('weights say how often each is chosen', () => {
  const random = new Random(4);
  const list = [
    { weight: 9, name: 'often' },
    { weight: 1, name: 'seldom' },
  ];
  const seldom = Array.from({ length: 1000 }, () => random.weighted(list)).filter(({ name }) => name === 'seldom');
  assert.ok(seldom.length > 60 && seldom.length < 150, `${seldom.length} of 1000`);
  assert.throws(() => random.pick([]), RangeError);
});

test.run();
