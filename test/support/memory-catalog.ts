/** Keeps the collections of a migration in memory, as the destination would. */
import { type CatalogStore, CollectionMap, type NewCollection } from '../../src/metadata/collections.js';
import type { CollectionRecord } from '../../src/metadata/records.js';

/** A store without views, and what it holds. */
export function memoryCatalog(): { store: CatalogStore; records: Map<string, CollectionRecord> } {
  const records = new Map<string, CollectionRecord>();
  const store: CatalogStore = {
    loadCollections: async () => [...records.values()],
    loadViews: async () => [],
    saveViews: async () => undefined,
    deleteView: async () => undefined,
    saveCollections: async (saved) => {
      for (const each of saved) records.set(each.id, each);
    },
    deleteCollections: async (ids) => {
      for (const id of ids) records.delete(id);
    },
  };
  return { store, records };
}

/** The map of these collections. */
export async function collectionMap(collections: readonly NewCollection[]): Promise<CollectionMap> {
  const map = new CollectionMap(memoryCatalog().store);
  await map.add(collections, new AbortController().signal);
  return map;
}
