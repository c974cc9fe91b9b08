import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Position } from '../../../src/bson/position.js';
import { CollectionMap, type NewCollection } from '../../../src/metadata/collections.js';
import { memoryCatalog } from '../../support/memory-catalog.js';

const { signal } = new AbortController();

function collection(id: string): NewCollection {
  const ns = { db: 'db', coll: id };
  const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
  return {
    id,
    ns,
    sourceNs: ns,
    destinationUuid: undefined,
    options: new Map(),
    indexes: [],
    dropped: false,
    copy,
  };
}

test('a dropped collection is forgotten once the checkpoint has passed its drop, by a later process, too', async () => {
  const { store, records } = memoryCatalog();
  const first = new CollectionMap(store);
  await first.add(['a', 'b', 'c', 'd'].map(collection), signal);
  await first.update('b', { dropped: true, droppedBy: Position.fromText('82B') }, signal);
  await first.update('c', { dropped: true, droppedBy: Position.fromText('82C') }, signal);
  // As an earlier version has stored it: nobody knows when.
  await first.update('d', { dropped: true }, signal);
  assert.equal(
    first.live().map(({ id }) => id),
    ['a'],
  );
  const map = new CollectionMap(store);
  await map.load(signal);
  await map.forgetDropped(Position.fromText('82A'), signal);
  assert.is(map.get('b')?.dropped, true, 'its events may be replayed');
  const { version } = map;
  await map.forgetDropped(Position.fromText('82B'), signal);
  assert.is(map.get('b'), undefined);
  assert.is.not(map.version, version);
  assert.is(map.get('c')?.dropped, true);
  assert.equal([...records.keys()], ['a', 'c', 'd']);
});

test('of two changes of one collection at the same time neither is lost, in memory and in the store', async () => {
  const { store, records } = memoryCatalog();
  const save = store.saveCollections.bind(store);
  const started: (() => void)[] = [];
  const map = new CollectionMap(store);
  await map.add([{ ...collection('a'), kept: [new Map([['name', 'kept']])] }], signal);
  // The first one to be stored takes the longest.
  store.saveCollections = async (saved) => {
    await new Promise<void>((resolve) => {
      started.push(resolve);
      if (started.length > 1) for (const each of started.reverse()) each();
      else setImmediate(resolve);
    });
    await save(saved, signal);
  };
  await Promise.all([
    map.update('a', ({ indexes }) => ({ indexes: [...indexes, new Map([['name', 'first']])] }), signal),
    map.update('a', { kept: [] }, signal),
    map.update('a', ({ indexes }) => ({ indexes: [...indexes, new Map([['name', 'second']])] }), signal),
  ]);
  const reloaded = new CollectionMap(store);
  await reloaded.load(signal);
  for (const each of [map.get('a'), reloaded.get('a')]) {
    assert.equal(
      each?.indexes.map((spec) => spec.get('name')),
      ['first', 'second'],
    );
    assert.equal(each?.kept ?? [], []);
  }
  assert.is(records.size, 1);
});

test.run();
