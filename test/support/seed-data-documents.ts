/** Makes documents with every kind of value and the largest sizes. */
import { type MongoClient, ObjectId } from 'mongodb';
import {
  documentOfSize,
  int64,
  nested,
  part,
  type RawPart,
  rawDocument,
  rawInsert,
  rawReplace,
} from './seed-data-raw.js';
import { everyId, everyValue } from './seed-data-values.js';

/** The largest document a server stores. */
export const LARGEST_DOCUMENT_BYTES = 16 * 1024 * 1024;

/** How much is put into the collections whose size matters. */
export interface FillerOptions {
  /** Further documents in the collection of mixed `_id` types. */
  readonly count: number;
  /** Size of each, in bytes. */
  readonly bytes: number;
  /** Whether names that begin with `$` are among the fields' names; before 5.0 servers refuse them. Default true. */
  readonly dollarNames?: boolean;
}

/** Fills database `values`: every BSON type as value and as `_id`, odd field names, empty timestamps. */
export async function seedValues(client: MongoClient, fillers: FillerOptions): Promise<void> {
  const values = everyValue();
  const asValues = values.map((value, index) =>
    rawDocument([
      part('_id', index),
      part('name', value.name),
      { ...value, name: 'value' },
      nested('in', [{ ...value, name: '0' }], 4),
      nested('sub', [part('before', 1), { ...value, name: 'v' }, part('after', 2)]),
    ]),
  );
  await rawInsert(client, 'values', 'types', asValues);
  const ids = everyId().map((id) => rawDocument([{ ...id, name: '_id' }, part('name', id.name)]));
  await rawInsert(client, 'values', 'ids', [...ids, ...mixedIds(fillers)]);
  const decimalNaN = everyValue().filter(({ name }) => ['decimal NaN', '-0.0', 'decimal 1.0', 'symbol'].includes(name));
  const others = decimalNaN.map((id) => rawDocument([{ ...id, name: '_id' }, part('name', id.name)]));
  await rawInsert(client, 'values', 'other ids', others);
  await seedOddNames(client, fillers.dollarNames ?? true);
}

/** Documents with `_id`s of many types, spread over their ranges, so that ranges of `_id` have borders within each. */
function mixedIds({ count, bytes }: FillerOptions): Buffer[] {
  const makers: ((index: number) => unknown)[] = [
    (index) => index + 1_000,
    (index) => index + 1_000.5,
    (index) => `id ${String(index).padStart(9, '0')}`,
    (index) => new ObjectId(index.toString(16).padStart(24, '5')),
    (index) => new Date(1_600_000_000_000 + index * 1000),
    (index) =>
      new Map<string, unknown>([
        ['b', index],
        ['10', index],
        ['2', 'x'],
      ]),
    (index) => Buffer.from(index.toString(16).padStart(8, '0'), 'hex'),
  ];
  const filling = Math.max(0, bytes - 60);
  return Array.from({ length: count }, (_, index) => {
    const make = makers[index % makers.length];
    return rawDocument([part('_id', make?.(index)), part('n', index), part('pad', 'p'.repeat(filling))]);
  });
}

async function seedOddNames(client: MongoClient, dollarNames: boolean): Promise<void> {
  const empty = { type: 0x11, bytes: int64(0n) };
  const names: RawPart[][] = [
    [part('10', 1), part('9', 2), part('b', 3), part('0', 4)],
    [part('__proto__', { a: 1 }), part('constructor', 2), part('hasOwnProperty', 3)],
    [part('d', 1), part('e', 2), part('d', 3), part('d', { f: 4 })],
    [part('a.b', 1), part('a', { b: 2 }), part('.', 3), part('', 4), part('a..b', 5)],
    [part('n'.repeat(1000), 1), part('ключ', 2), part(Buffer.from('6b80', 'hex'), 3)],
    [part('length', 5), part('_bsontype', 'Long'), part('toBSON', 6), part('size', 7)],
  ];
  const plain = names.map((parts, index) => rawDocument([part('_id', index), ...parts]));
  await rawInsert(client, 'values', 'names', plain);
  const all: RawPart[][] = [
    [part('$x', 1), part('$set', { a: 1 }), part('y', 2)],
    [part('$v', 2), part('diff', { i: { a: 1 } })],
    [part('a', 1), { ...empty, name: 'ts' }, part('b', 2)],
    [{ ...empty, name: 'ts' }, { ...empty, name: 'ts2' }, nested('n', [{ ...empty, name: 'ts' }])],
    [part('d', 1), part('d', 2), { ...empty, name: 'd' }, part('$d', 3)],
  ];
  const special = all.filter((parts) => dollarNames || !parts.some(({ name }) => `${name}`.startsWith('$')));
  await rawReplace(
    client,
    'values',
    'names',
    special.map((parts, index) => {
      const id = part('_id', `special ${index}`);
      return { id, bytes: rawDocument([id, ...parts]) };
    }),
  );
}

/** Fills `large.documents` with documents of the largest size, and of one byte less. */
export async function seedLargest(client: MongoClient): Promise<void> {
  await rawInsert(client, 'large', 'documents', [documentOfSize(1, LARGEST_DOCUMENT_BYTES)]);
  await rawInsert(client, 'large', 'documents', [documentOfSize('two', LARGEST_DOCUMENT_BYTES - 1)]);
  await rawInsert(client, 'large', 'documents', [documentOfSize(3.5, 9 * 1024 * 1024), rawDocument([part('_id', 4)])]);
}
