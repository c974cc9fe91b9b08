/** Compares the catalogs of two clusters. */
import type { MongoClient } from 'mongodb';
import {
  fieldOf,
  fieldsOf,
  type RawValue,
  renderValue,
  sameBytes,
  sameOrEqualNumbers,
} from './compare-clusters-bson.js';
import { rawAll } from './compare-clusters-read.js';

/** A collection or view as its cluster describes it. */
export interface CatalogEntry {
  readonly db: string;
  readonly collection: string;
  /** `collection`, `view` or `timeseries`. */
  readonly type: string;
  readonly capped: boolean;
  readonly options: Properties;
  /** By name; none for views. */
  readonly indexes: ReadonlyMap<string, Properties>;
}

type Properties = ReadonlyMap<string, RawValue>;

/** Options whose value is one number; which type it has may depend on the command that set it. */
const NUMBERS = new Set(['expireAfterSeconds', 'size', 'min', 'max', 'v', '2dsphereIndexVersion', 'textIndexVersion']);

const SYSTEM = /^system\./;
const OWN_DATABASES =
  /^(admin|local|config|mongosync_reserved_for_.*|mongosync_internal_.*|__mdb_internal_mongosync.*)$/;

/** Every collection and view of a cluster by its namespace, without those of the server and of sync tools. */
export async function readCatalog(
  client: MongoClient,
  ignoreDatabases: ReadonlySet<string>,
): Promise<Map<string, CatalogEntry>> {
  const { databases } = await client.db('admin').command({ listDatabases: 1, nameOnly: true });
  const names = (databases as { name: string }[]).map(({ name }) => name);
  const catalog = new Map<string, CatalogEntry>();
  for (const db of names.filter((name) => !OWN_DATABASES.test(name) && !ignoreDatabases.has(name)).sort()) {
    for (const raw of await rawAll(client, { db, command: { listCollections: 1, cursor: { batchSize: 100_000 } } })) {
      const collection = textOf(fieldOf(raw, 'name'));
      if (!SYSTEM.test(collection)) catalog.set(`${db}.${collection}`, await readEntry(client, db, collection, raw));
    }
  }
  return catalog;
}

async function readEntry(client: MongoClient, db: string, collection: string, raw: Buffer): Promise<CatalogEntry> {
  const type = textOf(fieldOf(raw, 'type'));
  const options = propertiesOf(fieldOf(raw, 'options')?.bytes);
  const indexes = new Map<string, Properties>();
  if (type === 'collection') {
    const command = { listIndexes: collection, cursor: { batchSize: 1000 } };
    for (const index of await rawAll(client, { db, command })) {
      indexes.set(textOf(fieldOf(index, 'name')), propertiesOf(index));
    }
  }
  return { db, collection, type, capped: options.has('capped'), options, indexes };
}

/** What differs between two descriptions of one namespace, one line each. */
export function compareEntries(source: CatalogEntry, destination: CatalogEntry): string[] {
  const name = `${source.db}.${source.collection}`;
  if (source.type !== destination.type) {
    return [`${name}: a ${source.type} on the source, a ${destination.type} on the destination`];
  }
  const lines = compareProperties(`${name}: option`, withoutTemp(source.options), withoutTemp(destination.options));
  // The source's own temporary collections are gone once whoever made them is done.
  if (destination.options.has('temp')) lines.push(`${name}: temporary on the destination`);
  for (const index of new Set([...source.indexes.keys(), ...destination.indexes.keys()])) {
    const left = source.indexes.get(index);
    const right = destination.indexes.get(index);
    if (left === undefined) lines.push(`${name}: index ${index} only on the destination: ${render(right)}`);
    else if (right === undefined) lines.push(`${name}: index ${index} missing on the destination: ${render(left)}`);
    else lines.push(...compareProperties(`${name}: index ${index}:`, left, right));
  }
  return lines;
}

function withoutTemp(options: Properties): Properties {
  return new Map([...options].filter(([name]) => name !== 'temp'));
}

function compareProperties(what: string, source: Properties, destination: Properties): string[] {
  const lines: string[] = [];
  for (const name of new Set([...source.keys(), ...destination.keys()])) {
    const left = source.get(name);
    const right = destination.get(name);
    const same = NUMBERS.has(name) ? sameOrEqualNumbers : sameBytes;
    if (left !== undefined && right !== undefined && same(left, right)) continue;
    lines.push(`${what} ${name}: ${show(left)} on the source, ${show(right)} on the destination`);
  }
  return lines;
}

function propertiesOf(doc: Buffer | undefined): Properties {
  const properties = new Map<string, RawValue>();
  for (const field of doc === undefined ? [] : fieldsOf(doc)) {
    // Before 4.4 indexes held their namespace.
    if (field.name !== 'ns') properties.set(field.name, field);
  }
  // Some patch releases list the expiry of a clustered collection here, too.
  if (properties.has('clustered')) properties.delete('expireAfterSeconds');
  return properties;
}

function show(value: RawValue | undefined): string {
  return value === undefined ? 'none' : renderValue(value);
}

function render(properties: Properties | undefined): string {
  return [...(properties ?? [])].map(([name, value]) => `${name}: ${renderValue(value)}`).join(', ');
}

function textOf(value: RawValue | undefined): string {
  return value === undefined ? '' : value.bytes.toString('utf8', 4, value.bytes.length - 1);
}
