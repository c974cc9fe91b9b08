/** The order of positions, what they are stored as, and how a stream is opened at one. */
import { Binary, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hasReached, Position } from '../../../src/bson/position.js';

const at = (t: number, i: number): string => `82${t.toString(16).padStart(8, '0')}${i.toString(16).padStart(8, '0')}`;
const token = (t: number, i: number, rest: string): Position => Position.fromText(`${at(t, i)}${rest}`);

test('positions have the order of the stream, whatever they were made of', () => {
  const ordered = [
    token(15, 9, 'FF'),
    Position.startAt(new Timestamp({ t: 16, i: 1 })),
    token(16, 1, '0A'),
    // Of one transaction.
    token(16, 1, '0B'),
    token(16, 2, '00'),
    Position.startAt(new Timestamp({ t: 17, i: 0 })),
  ];
  for (const [m, a] of ordered.entries()) {
    for (const [n, b] of ordered.entries()) {
      assert.is(Math.sign(a.compare(b)), Math.sign(m - n), `${a.toText()} and ${b.toText()}`);
      assert.is(a.isAtOrBefore(b), m <= n);
      assert.is(a.equals(b), m === n);
    }
  }
});

test('the types of an _id belong to the token, not to its place', () => {
  const plain = Position.fromText(`${at(16, 1)}AA`);
  const typed = Position.ofResumeToken({ _data: `${at(16, 1)}AA`, _typeBits: new Binary(Buffer.from('8b', 'hex')) });
  assert.ok(plain.equals(typed));
  assert.is(typed.toText(), `${at(16, 1)}AA:8b`);
  const { resumeAfter } = Position.fromText(typed.toText()).stageOptions as { resumeAfter: { _typeBits: Binary } };
  assert.is(resumeAfter._typeBits.toString('hex'), '8b');
  assert.equal(plain.stageOptions, { resumeAfter: { _data: `${at(16, 1)}AA` } });
});

test('a start is opened at its time, and survives being stored', () => {
  const time = new Timestamp({ t: 0xfffffff0, i: 3 });
  const start = Position.fromText(Position.startAt(time).toText());
  assert.ok(start.isStart);
  assert.ok(start.time.equals(time));
  assert.ok(time.equals(start.stageOptions['startAtOperationTime'] as Timestamp));
});

test('a time is reached behind it, or at it once nothing of it is to come', () => {
  const [time, position] = [new Timestamp({ t: 16, i: 1 }), token(16, 1, 'AA')];
  assert.is(hasReached({ position, isBetween: false }, time), false);
  assert.is(hasReached({ position, isBetween: true }, time), true);
  assert.is(hasReached({ position: token(16, 2, '00'), isBetween: false }, time), true);
  assert.is(hasReached({ position: token(15, 9, '00'), isBetween: true }, time), false);
});

test('what is no token of a form that is known has no time', () => {
  assert.throws(() => Position.fromText('83ff').time, /unknown form/);
});

test.run();
