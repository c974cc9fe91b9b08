/** Random documents, `_id`s and changes of documents for a simulated workload. */
import { Decimal128, Double, Int32, Long, Timestamp } from 'mongodb';
import type { Random } from '../support/workload-random.js';
import { documentFrom, type Field, fieldsOf, Type, toField, toRaw } from './raw.js';

type Values = Map<string, unknown>;

/** Few, so that they meet; some are equal with other bytes. */
export function randomId(random: Random): unknown {
  const n = random.int(12);
  switch (random.int(10)) {
    case 0:
      return new Double(n);
    case 1:
      return Long.fromNumber(n);
    case 2:
      return Decimal128.fromString(`${n}.0`);
    case 3:
      return `key ${n % 4}`;
    case 4:
      return new Map<string, unknown>([
        ['a', new Int32(n % 3)],
        ['b', 'x'],
      ]);
    case 5:
      return n % 2 === 0 ? null : new Double(n + 0.5);
    default:
      return new Int32(n);
  }
}

function randomValue(random: Random): unknown {
  switch (random.int(8)) {
    case 0:
      return `text ${random.int(100)}`;
    case 1:
      return new Double(random.int(10) === 0 ? -0 : random.int(100) / 4);
    case 2:
      return Long.fromNumber(random.int(1000));
    case 3:
      return new Map<string, unknown>([
        ['x', new Int32(random.int(9))],
        ['0', 'digit'],
        ['y', random.chance(0.5)],
      ]);
    case 4:
      return Array.from({ length: random.int(4) }, () => new Int32(random.int(9)));
    case 5:
      return null;
    default:
      return new Int32(random.int(1000));
  }
}

const FIELDS = ['n', 'a', 'sub', 'list', '1', 'z'] as const;

/** A document with that `_id`. `u` is what unique indexes are on. */
export function randomDocument(random: Random, id: unknown): Values {
  const document: Values = new Map([['_id', id]]);
  if (random.chance(0.8)) document.set('u', new Int32(random.int(40)));
  if (random.chance(0.4))
    document.set(
      'sub',
      new Map<string, unknown>([
        ['a', new Int32(1)],
        ['b', 'two'],
      ]),
    );
  if (random.chance(0.4)) document.set('list', [new Int32(1), 'two', new Map([['three', new Int32(3)]])]);
  for (let count = random.int(4); count > 0; count--) document.set(random.pick(FIELDS), randomValue(random));
  if (random.chance(0.05)) document.set('time', new Timestamp({ t: 0, i: 0 }));
  return document;
}

/** The server's own delta of a random change to a document, `{u, i, d, s…}`; undefined: it found none. */
export function randomDelta(random: Random, document: Buffer): Buffer | undefined {
  const fields = fieldsOf(document).filter(({ name }) => name !== '_id');
  const parts: Field[] = [];
  const chosen = fields.length === 0 ? undefined : random.pick(fields);
  if (chosen !== undefined && random.chance(0.3)) parts.push(part('d', [toField(chosen.name, false)]));
  else if (chosen?.type === Type.document && random.chance(0.7)) parts.push(inside(random, chosen));
  else if (chosen?.type === Type.array && random.chance(0.7)) parts.push(insideArray(random, chosen));
  else if (chosen !== undefined) parts.push(part('u', [toField(chosen.name, randomValue(random))]));
  const fresh = FIELDS.filter((name) => fields.every((each) => each.name !== name));
  if (fresh.length > 0 && (parts.length === 0 || random.chance(0.3))) {
    parts.push(part('i', [toField(random.pick(fresh), randomValue(random))]));
  }
  return parts.length === 0 ? undefined : documentFrom(parts.toSorted((a, b) => rank(a) - rank(b)));
}

/** The server writes deletes, updates, inserts and then what goes deeper. */
function rank({ name }: Field): number {
  return ['d', 'u', 'i'].indexOf(name) < 0 ? 3 : ['d', 'u', 'i'].indexOf(name);
}

function part(name: string, fields: readonly Field[]): Field {
  return { name, type: Type.document, value: documentFrom(fields) };
}

function inside(random: Random, { name, value }: Field): Field {
  const names = fieldsOf(value).map((each) => each.name);
  const change =
    names.length > 0 && random.chance(0.6)
      ? part('u', [toField(random.pick(names), randomValue(random))])
      : part('i', [toField(`new${random.int(3)}`, randomValue(random))]);
  const isThere = change.name === 'i' && names.includes(fieldsOf(change.value)[0]?.name ?? '');
  return part(`s${name}`, [isThere ? { ...change, name: 'u' } : change]);
}

function insideArray(random: Random, { name, value }: Field): Field {
  const { length } = fieldsOf(value);
  const change =
    length > 0 && random.chance(0.3)
      ? toField('l', new Int32(random.int(length)))
      : toField(`u${random.int(length + 1)}`, randomValue(random));
  return part(`s${name}`, [toField('a', true), change]);
}

/** `{$_internalApplyOplogUpdate: …}`, by which a delta becomes an update of one's own. */
export function deltaPipeline(diff: Buffer): Field {
  const oplogUpdate = documentFrom([toField('$v', 2), { name: 'diff', type: Type.document, value: diff }]);
  const operator = documentFrom([{ name: 'oplogUpdate', type: Type.document, value: oplogUpdate }]);
  const stage = documentFrom([{ name: '$_internalApplyOplogUpdate', type: Type.document, value: operator }]);
  return { name: 'u', type: Type.array, value: documentFrom([{ name: '0', type: Type.document, value: stage }]) };
}

/** A statement `{q, u}` that changes the document with that raw `{_id: …}`. */
export function updateStatement(id: Buffer, u: Field, isUpsert = false): Buffer {
  return documentFrom([
    { name: 'q', type: Type.document, value: id },
    u,
    ...(isUpsert ? [toField('upsert', true)] : []),
  ]);
}

/** A document as a field. */
export function whole(document: Values): Field {
  return { name: 'u', type: Type.document, value: toRaw(document) };
}
