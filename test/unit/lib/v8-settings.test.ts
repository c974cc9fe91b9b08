import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { v8Settings } from '../../../src/lib/v8-settings.js';

test('the V8 that runs knows all of its settings', () => {
  const settings = v8Settings(process.versions.v8);
  const script = `for (const each of ${JSON.stringify(settings)}) require('node:v8').setFlagsFromString(each);`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  assert.is(stderr, '');
  assert.is(status, 0);
  assert.ok(settings.length >= 2);
});

test('each V8 is told in its own way when code is worth being compiled', () => {
  const about = (version: string) => v8Settings(version).filter((each) => /budget|turbofan/.test(each));
  assert.match(String(about('11.3.244.8-node.38')), /^--interrupt-budget=/);
  assert.match(String(about('12.4.254.21-node.57')), /^--invocation-count-for-turbofan=/);
  assert.equal(about('13.6.233.17-node.53'), []);
});

test.run();
