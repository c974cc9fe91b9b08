import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ApplyWindow } from '../../../src/apply/apply-window.js';

const never = new AbortController().signal;

test('property: the safe position never passes a batch that is not applied, and ends at the last', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc
        .array(fc.nat(100), { minLength: 1, maxLength: 30 })
        .chain((sizes) =>
          fc.tuple(fc.constant(sizes), fc.shuffledSubarray([...sizes.keys()], { minLength: sizes.length })),
        ),
      async ([sizes, order]) => {
        const window = new ApplyWindow<number>({ limitBytes: 1_000_000 });
        const settles = [];
        for (const [index, bytes] of sizes.entries()) settles.push(await window.admit(index, bytes, never));
        const applied = new Set<number>();
        let safe = -1;
        for (const index of order) {
          applied.add(index);
          const moved = settles[index]?.();
          if (moved !== undefined) safe = moved;
          const expected = sizes.findIndex((_, each) => !applied.has(each));
          assert.is(safe, expected < 0 ? sizes.length - 1 : expected - 1);
        }
        assert.is(window.heldBytes, 0);
      },
    ),
  );
});

test('a batch waits for room, and one larger than the limit goes in alone', async () => {
  const window = new ApplyWindow<string>({ limitBytes: 10 });
  const first = await window.admit('first', 25, never);
  let admitted = false;
  const second = window.admit('second', 5, never).then((markApplied) => {
    admitted = true;
    return markApplied;
  });
  await Promise.resolve();
  assert.not(admitted);
  assert.is(first(), 'first');
  assert.is((await second)(), 'second');
});

test('waiting for room ends when the signal aborts', async () => {
  const window = new ApplyWindow<string>({ limitBytes: 10 });
  await window.admit('first', 10, never);
  const stop = new AbortController();
  const waiting = window.admit('second', 1, stop.signal);
  stop.abort(new Error('stopped'));
  try {
    await waiting;
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, 'AbortError');
  }
});

test('a batch marked applied twice is a bug that is said', async () => {
  const markApplied = await new ApplyWindow<string>({ limitBytes: 10 }).admit('x', 1, never);
  markApplied();
  assert.throws(markApplied, /marked applied twice/);
});

test.run();
