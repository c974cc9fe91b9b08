/** Tests what a note in the oplog tells of the cluster. */
import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeOplogNote } from '../../../src/cluster/oplog-note.js';
import { answeringCluster } from '../../support/answering-cluster.js';

const { signal } = new AbortController();

test('a note is the newest that is known of a cluster, unless it is no news', async () => {
  let t = 0;
  const cluster = await answeringCluster(() => ({ ok: 1, operationTime: new Timestamp({ t: ++t, i: 0 }) }));
  const first = await writeOplogNote(cluster, 'news', signal);
  assert.equal(cluster.now, first);
  const second = await writeOplogNote(cluster, 'no news', signal, { isNoNews: true });
  assert.ok(second.greaterThan(first));
  assert.equal(cluster.now, first);
});

test.run();
