/** Makes a small database with what a commit has to restore. */
import type { MongoClient } from 'mongodb';

/** A database `shop` with what a commit has to restore: unique and TTL indexes, and a capped collection. */
export async function seedRestorable(client: MongoClient, documents: number): Promise<void> {
  const db = client.db('shop');
  const items = db.collection('items');
  await items.insertMany(Array.from({ length: documents }, (_, n) => ({ sku: n })));
  await items.createIndex({ sku: 1 }, { unique: true });
  await items.createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
  await db.createCollection('recent', { capped: true, size: 4096, max: 7 });
  await db.collection('recent').insertMany([{ a: 1 }, { a: 2 }]);
}

/** A database `shop` with one of each kind that privileges tell apart: a unique index, a capped collection, a view. */
export async function seedKinds(client: MongoClient): Promise<void> {
  const db = client.db('shop');
  await db.collection('items').insertMany([{ n: 1 }, { n: 2 }]);
  await db.collection('items').createIndex({ n: 1 }, { unique: true });
  await db.createCollection('log', { capped: true, size: 4096 });
  await db.createCollection('few', { viewOn: 'items', pipeline: [] });
}
