/** Makes the same mix of change events in every run. */
import type { Document, MongoClient } from 'mongodb';
import { bulkDocument } from '../test/support/seed-data-bulk.js';
import { part, rawDocument, sequence } from '../test/support/seed-data-raw.js';
import { collectionNames, type Dataset, drain } from './floors.js';

const BATCH = 500;

/** Of 20 events: 8 updates of fields, 4 of arrays, 5 inserts, 2 deletes, 1 replacement. */
type Kind = 'set' | 'push' | 'insert' | 'delete' | 'replace';
const MIX: readonly Kind[] = [
  ...new Array<Kind>(8).fill('set'),
  ...new Array<Kind>(4).fill('push'),
  ...new Array<Kind>(5).fill('insert'),
  ...new Array<Kind>(2).fill('delete'),
  'replace',
];

/**
 * Makes so many change events, the same every time, spread over the data's collections. Documents are met more than
 * once; those deleted and inserted are others, so that every statement is an event.
 */
export async function makeEvents(client: MongoClient, data: Dataset, events: number): Promise<void> {
  const names = collectionNames(data);
  const each = Math.floor(events / names.length);
  await drain(names, async (name) => {
    for (let from = 0; from < each; from += BATCH) {
      const kinds = Array.from({ length: Math.min(BATCH, each - from) }, (_, index) => kindOf(from + index));
      await send(client, data, name, from, kinds);
    }
  });
}

function kindOf(index: number): Kind {
  return MIX[(index * 7) % MIX.length] ?? 'set';
}

function deletesBefore(index: number): number {
  const inRound = Array.from({ length: index % MIX.length }, (_, before) => kindOf(before));
  return Math.floor(index / MIX.length) * 2 + inRound.filter((kind) => kind === 'delete').length;
}

async function send(
  client: MongoClient,
  data: Dataset,
  name: string,
  from: number,
  kinds: readonly Kind[],
): Promise<void> {
  const perCollection = data.documents / data.collections;
  const inserts: Buffer[] = [];
  const updates: Buffer[] = [];
  const deletes: Buffer[] = [];
  kinds.forEach((kind, index) => {
    const n = from + index;
    // The last fifth is kept for deletes, so that updates meet what is there.
    const target = (n * 7919) % Math.floor(perCollection * 0.8);
    if (kind === 'insert') inserts.push(bulkDocument(perCollection + n, data.documentBytes));
    else if (kind === 'delete') deletes.push(statement({ q: { _id: perCollection - 1 - deletesBefore(n) }, limit: 1 }));
    else updates.push(statement({ q: { _id: target }, u: changeOf(kind, n, target) }));
  });
  const write = { ordered: true, writeConcern: { w: 1 } };
  const db = client.db(data.db);
  if (updates.length > 0) await db.command({ update: name, ...write, updates: sequence('updates', updates) });
  if (inserts.length > 0) await db.command({ insert: name, ...write, documents: sequence('documents', inserts) });
  if (deletes.length > 0) await db.command({ delete: name, ...write, deletes: sequence('deletes', deletes) });
}

function changeOf(kind: Kind, n: number, target: number): Document {
  if (kind === 'push') return { $push: { list: { $each: [n], $slice: -10 } } };
  if (kind === 'replace') return { n: target, replaced: n, pad: 'r'.repeat(200) };
  return { $set: { word: `changed ${n}` }, $inc: { visits: 1 } };
}

function statement(what: Document): Buffer {
  return rawDocument(Object.entries(what).map(([name, value]) => part(name, value)));
}
