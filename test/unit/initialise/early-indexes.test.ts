/** Tests which collections get their indexes while they are empty. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { OrderedDoc } from '../../../src/bson/bson.js';
import { earlyIndexes } from '../../../src/initialise/early-indexes.js';
import type { MigratedCollection } from '../../../src/metadata/collections.js';
import { migratedCollection } from '../../support/migrated-collection.js';

const spec = (name: string, more: Record<string, unknown> = {}): OrderedDoc =>
  new Map<string, unknown>([['v', 2], ['key', new Map([[name, 1]])], ['name', name], ...Object.entries(more)]);

function namesOf(documents: number, change: Partial<MigratedCollection> = {}, buildsBeforeCopy = false): string[] {
  const collection = migratedCollection({
    indexes: [spec('a'), spec('b', { unique: true }), spec('left', { expireAfterSeconds: 1 })],
    ...change,
  });
  const isBuilt = (each: OrderedDoc): boolean => each.get('name') !== 'left';
  const early = earlyIndexes({ isBuilt, buildsBeforeCopy }, collection, { documents, bytes: documents * 100 });
  for (const each of early) assert.not(each.has('unique'));
  return early.map((each) => String(each.get('name')));
}

test('a small collection gets the indexes that are built, without what is held back', () => {
  assert.equal(namesOf(0), ['a', 'b']);
  assert.equal(namesOf(1000), ['a', 'b']);
});

test('a larger one gets them after the copy, unless all are built before it', () => {
  assert.equal(namesOf(1001), []);
  assert.equal(namesOf(1_000_000, {}, true), ['a', 'b']);
});

test('a capped one gets none: it is emptied and copied again where it has to be', () => {
  assert.equal(namesOf(10, { capped: true }), []);
});

test.run();
