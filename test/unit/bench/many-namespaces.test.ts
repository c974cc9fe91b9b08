/**
 * Many namespaces: what is kept, filtered, shown and answered of each must not cost more because there are many. Held
 * against itself, at 1,000 and at 8,000 (and shown for 50,000), in processor time of one process.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type NameMatcher, NamespaceFilter } from '../../../src/catalog/namespace-filter.js';
import { type CatalogStore, CollectionMap, type NewCollection } from '../../../src/metadata/collections.js';
import { namespaceSnapshots } from '../../../src/progress/namespaces.js';
import { tellCost } from '../../support/cost-ratio.js';
import { observedMigration, observedRun } from '../../support/observed-work.js';

const { signal } = new AbortController();
const FEW = 1000;
const MANY = 8000;
const MOST = 50_000;
/** Quadratic work would cost eight times as much for each; caches of processors, and garbage, make it some more. */
const LIMIT = 2.5;
const ROUNDS = 5;

const store: CatalogStore = {
  loadCollections: async () => [],
  loadViews: async () => [],
  saveViews: async () => undefined,
  deleteView: async () => undefined,
  saveCollections: async () => undefined,
  deleteCollections: async () => undefined,
};

function collection(n: number): NewCollection {
  const ns = { db: `db${n % 10}`, coll: `c${n}` };
  const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
  const id = n.toString(16).padStart(32, '0');
  const rest = { destinationUuid: undefined, options: new Map(), indexes: [], dropped: false, copy };
  return { id, ns, sourceNs: ns, ...rest };
}

async function mapOf(count: number): Promise<CollectionMap> {
  const map = new CollectionMap(store);
  await map.add(
    Array.from({ length: count }, (_, n) => collection(n)),
    signal,
  );
  return map;
}

/** Processor time of the quickest round, in microseconds for each of `count`. */
async function each(count: number, work: (count: number) => unknown): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    await work(count);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, user + system);
  }
  return best / count;
}

async function assertLinear(what: string, work: (count: number) => unknown): Promise<void> {
  await work(FEW);
  const [few, many] = [await each(FEW, work), await each(MANY, work)];
  const ratio = many / few;
  tellCost(`${what}: ${ratio.toFixed(2)}, ${many.toFixed(1)} µs each`);
  assert.ok(ratio < LIMIT, `${what}: ${ratio.toFixed(1)} times as much for each of ${MANY} as for each of ${FEW}`);
}

test('collections are kept, and one after the other created, at the same cost', async () => {
  await assertLinear('kept', mapOf);
  await assertLinear('created', async (count) => {
    const map = await mapOf(count);
    for (let n = 0; n < count; n++) await map.update(collection(n).id, { dropped: false }, signal);
    return map.live().length;
  });
});

test('a filter that names every one decides at the same cost', async () => {
  const never: NameMatcher = { matches: async () => false, learn: async () => undefined };
  await assertLinear('filtered', async (count) => {
    const names = Array.from({ length: count }, (_, n) => collection(n).ns);
    const databases = [...new Set(names.map(({ db }) => db))];
    const includeNamespaces = databases.map((database) => ({
      database,
      collections: names.filter(({ db }) => db === database).map(({ coll }) => coll),
    }));
    const filter = new NamespaceFilter({ includeNamespaces, excludeNamespaces: [] }, never);
    for (const ns of names) assert.ok(await filter.includes(ns, signal));
  });
});

test('progress by namespace costs the same for each, and 50,000 are shown', async () => {
  const maps = new Map<number, CollectionMap>([
    [FEW, await mapOf(FEW)],
    [MANY, await mapOf(MANY)],
  ]);
  const show = (collections: CollectionMap | undefined) => {
    assert.ok(collections);
    const namespaces = collections.live().map(({ name: namespace }) => ({
      ...{ namespace, documentsCopied: 1, estimatedDocuments: 1, bytesCopied: 1, estimatedBytes: 1 },
      ...{ partitionsDone: 1, partitionsTotal: 1 },
    }));
    const run = { ...observedRun(), copy: { totals: { totalBytes: 1, copiedBytes: 1, documents: 1 }, namespaces } };
    return namespaceSnapshots(run, { ...observedMigration(), collections });
  };
  await assertLinear('shown', (count) => show(maps.get(count)));
  assert.is(show(await mapOf(MOST)).length, MOST);
});

test.run();
