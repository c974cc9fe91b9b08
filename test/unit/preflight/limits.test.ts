import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CatalogEntry } from '../../../src/catalog/catalog.js';
import { checkCapped } from '../../../src/preflight/limits.js';

const entry = (coll: string, options: Record<string, unknown>): CatalogEntry => ({
  ns: { db: 'shop', coll },
  type: 'collection',
  uuid: undefined,
  sharding: undefined,
  options: new Map(Object.entries(options)),
});

test('capped sizes and maxima that servers of today do not make are told; these round them (6.0) or never did', () => {
  const usual = [
    entry('plain', {}),
    entry('capped', { capped: true, size: 4096 }),
    entry('counted', { capped: true, size: 256, max: 7 }),
  ];
  assert.equal(checkCapped(usual), []);
  const odd = [
    entry('zero', { capped: true, size: 0 }),
    entry('odd', { capped: true, size: 5000 }),
    entry('negative', { capped: true, size: 4096, max: -1 }),
    entry('huge', { capped: true, size: 4096, max: 2 ** 31 }),
  ];
  const [found, ...more] = checkCapped([...usual, ...odd]);
  assert.equal(more, []);
  assert.equal([found?.name, found?.severity], ['CappedSettings', 'warning']);
  assert.equal(found?.namespaces, ['shop.zero', 'shop.odd', 'shop.negative', 'shop.huge']);
});

test.run();
