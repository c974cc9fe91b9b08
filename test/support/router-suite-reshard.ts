/** Acceptance tests of the router: a collection is resharded under another key. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { admin, freshDatabase, type RouterBed, type Row, range, through } from './router-suite.js';

/** Registers them. */
export function reshardTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'a resharded collection has another key and UUID, and all of its documents'), async () => {
    const db = await freshDatabase(bed, 'reshard');
    await admin(bed, { shardCollection: 'reshard.h', key: { _id: 'hashed' } });
    const h = db.collection<Row>('h');
    await h.insertMany(range(0, 1000).map((i) => ({ _id: i, p: i })));
    const entry = async () =>
      await bed.client.db('config').collection<Row>('collections').findOne({ _id: 'reshard.h' });
    const before = await entry();
    await admin(bed, { reshardCollection: 'reshard.h', key: { p: 1 } });
    const after = await entry();
    assert.equal(after?.key, { p: 1 });
    assert.is.not(String(after?.uuid), String(before?.uuid));
    assert.is(await h.countDocuments(), 1000);
    assert.is((await h.updateOne({ p: 7, _id: 7 }, { $set: { z: 1 } })).modifiedCount, 1);
  });
}
