/** What can be seen of a server over its client, as texts to compare: what it holds, and what its change stream told. */
import { Binary, Timestamp } from 'mongodb';
import { canonicalText, decodeOrdered, type OrderedDoc } from '../../src/bson/bson.js';
import type { DriverClient } from '../../src/cluster/driver.js';
import type { Doc } from './request.js';

const DATABASES = ['depot', 'shop'] as const;
/** What differs from run to run. */
const PASSING = new Set(['_id', 'clusterTime', 'wallTime', 'stateBeforeChange', 'lsid', 'txnNumber']);

/** By namespace, and within it options, indexes and documents. */
export type Picture = readonly string[];

/** Everything that two databases hold. */
export async function pictureOf(client: DriverClient): Promise<Picture> {
  const lines: string[] = [];
  for (const db of DATABASES) {
    const entries = await all(client, db, { listCollections: 1, cursor: {} });
    for (const entry of entries.sort((a, b) => String(a.get('name')).localeCompare(String(b.get('name'))))) {
      const name = String(entry.get('name'));
      if (name.startsWith('system.')) continue;
      lines.push(`${db}.${name} ${String(entry.get('type'))} ${sortedText(entry.get('options') as OrderedDoc)}`);
      if (entry.get('type') === 'view') continue;
      const indexes = await all(client, db, { listIndexes: name, cursor: {} });
      lines.push(...indexes.map((each) => `${db}.${name} index ${sortedText(each)}`).sort());
      const order = (entry.get('options') as OrderedDoc).has('capped') ? { $natural: 1 } : { _id: 1 };
      const documents = await all(client, db, { find: name, filter: {}, hint: order, batchSize: 1000 });
      lines.push(...documents.map((each) => `${db}.${name} ${withoutTime(each)}`));
    }
  }
  return lines;
}

/** A plain insert sets it to the moment's time. */
function withoutTime(document: OrderedDoc): string {
  return canonicalText(new Map([...document].map(([name, value]) => [name, name === 'time' ? 0 : value])));
}

function sortedText(doc: OrderedDoc): string {
  return canonicalText(new Map([...doc].sort(([a], [b]) => (a < b ? -1 : 1))));
}

async function all(client: DriverClient, db: string, command: Doc): Promise<OrderedDoc[]> {
  const reply = await client.command(db, command, { fieldsAsRaw: { firstBatch: true } });
  return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch.map(decodeOrdered);
}

/** The change events from a time on, in order, without what differs from run to run. */
export async function seenEvents(client: DriverClient, from: unknown): Promise<string[]> {
  const changeStream = {
    allChangesForCluster: true,
    showExpandedEvents: true,
    showRawUpdateDescription: true,
    startAtOperationTime: from ?? new Timestamp({ t: 1_700_000_000, i: 1 }),
  };
  const names = new Map<string, string>();
  const events: string[] = [];
  const open = { aggregate: 1, pipeline: [{ $changeStream: changeStream }], cursor: {} };
  let { cursor } = (await client.command('admin', open, { fieldsAsRaw: { firstBatch: true } })) as {
    cursor: CursorBatch;
  };
  for (let quiet = 0; quiet < 2; ) {
    const batch = cursor.firstBatch ?? cursor.nextBatch ?? [];
    events.push(...batch.map((raw) => eventText(decodeOrdered(raw), names)));
    quiet = batch.length > 0 ? 0 : quiet + 1;
    const more = { getMore: cursor.id, collection: '$cmd.aggregate', maxTimeMS: 200 };
    ({ cursor } = (await client.command('admin', more, { fieldsAsRaw: { nextBatch: true } })) as {
      cursor: CursorBatch;
    });
  }
  return sortDrops(events);
}

/** dropDatabase drops collections in the order of their UUIDs. */
function sortDrops(events: readonly string[]): string[] {
  const isDrop = (text: string | undefined): boolean => text?.includes('"operationType","drop"') === true;
  const sorted = [...events];
  for (let at = 0; at < sorted.length; at++)
    for (let other = at; other > 0 && isDrop(sorted[other]) && isDrop(sorted[other - 1]); other--) {
      const [a, b] = [sorted[other - 1] as string, sorted[other] as string];
      if (a > b) [sorted[other - 1], sorted[other]] = [b, a];
    }
  return sorted;
}

interface CursorBatch {
  readonly id: unknown;
  readonly firstBatch?: Buffer[];
  readonly nextBatch?: Buffer[];
}

/** UUIDs are named by the order in which they come. */
function eventText(event: OrderedDoc, names: Map<string, string>): string {
  const named = (value: unknown): unknown => {
    if (value instanceof Binary && value.sub_type === Binary.SUBTYPE_UUID) {
      const id = value.toString('hex');
      if (!names.has(id)) names.set(id, `collection ${names.size + 1}`);
      return names.get(id);
    }
    if (value instanceof Map) return new Map([...value].map(([name, each]) => [name, named(each)]));
    return Array.isArray(value) ? value.map(named) : value;
  };
  const kept = [...event].filter(([name]) => !PASSING.has(name)).map(([name, value]) => [name, named(value)] as const);
  const text = new Map(kept);
  // A real server writes a whole document where a delta would not be shorter.
  const operation = text.get('operationType');
  if (operation === 'update' || operation === 'replace') {
    text.set('operationType', 'update or replace');
    for (const name of ['fullDocument', 'rawUpdateDescription', 'updateDescription']) text.delete(name);
  }
  const description = text.get('operationDescription');
  const indexes = description instanceof Map ? description.get('indexes') : undefined;
  if (Array.isArray(indexes)) text.set('operationDescription', (indexes as OrderedDoc[]).map(sortedText));
  const document = text.get('fullDocument');
  if (document instanceof Map) text.set('fullDocument', withoutTime(document));
  return canonicalText(text);
}
