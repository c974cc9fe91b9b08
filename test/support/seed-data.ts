/** Makes data of every kind that a migration must carry. */
import type { MongoClient } from 'mongodb';
import { seedCollated, seedIndexes, seedKinds, seedNames } from './seed-data-catalog.js';
import { type FillerOptions, seedLargest, seedValues } from './seed-data-documents.js';

/** What {@link seedEverything} makes beyond a few documents of each kind. */
export interface SeedOptions {
  /** Whether documents of 16 MB are among them. Default true. */
  readonly large?: boolean;
  /** Documents of many `_id` types in one collection. Default 2000 of 200 bytes. */
  readonly mixedIds?: FillerOptions;
}

/**
 * Fills a source with all that is hard to carry: every BSON type as value and as `_id`, the largest documents, names of
 * fields and collections that software stumbles over, every kind of collection, index and view. Always the same, and
 * nothing of it expires. The databases: values, large, indexes, kinds, collated, names-of-things_1, дані.
 */
export async function seedEverything(client: MongoClient, options: SeedOptions = {}): Promise<void> {
  await seedValues(client, options.mixedIds ?? { count: 2_000, bytes: 200 });
  await seedIndexes(client);
  await seedKinds(client);
  await seedCollated(client);
  await seedNames(client);
  if (options.large !== false) await seedLargest(client);
}
