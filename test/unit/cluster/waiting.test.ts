import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Waiting } from '../../../src/cluster/waiting.js';
import { eventually } from '../../support/within.js';

test('what one piece of work achieves says nothing about what another waits for', () => {
  const waiting = new Waiting('cluster1');
  const [notes, writes] = [{}, {}];
  waiting.tell(notes, 'notes fail');
  waiting.tell(writes, 'writes fail');
  waiting.tell(writes, undefined);
  assert.equal([waiting.outage, waiting.lines], ['notes fail', ['notes fail']]);
  waiting.tell(notes, undefined);
  assert.equal([waiting.outage, waiting.lines], [undefined, []]);
});

test('a command without an answer is named after two seconds, and is no outage', async () => {
  const waiting = new Waiting('cluster1');
  const answered = waiting.sent('shop', { insert: 'orders' });
  const building = waiting.sent('shop', { createIndexes: 'orders' });
  const tailing = waiting.sent('admin', { getMore: 1, maxTimeMS: 60_000 });
  assert.equal(waiting.lines, []);
  await eventually(10_000, () => waiting.lines.length > 0, 'a line');
  assert.match(waiting.lines.join(), /^cluster1 has not answered insert of shop\.orders for \d+ s$/);
  assert.is(waiting.outage, undefined);
  answered();
  await pause(1);
  assert.equal(waiting.lines, []);
  building();
  tailing();
});

test.run();
