/** Which shards a query is sent to: what it says about the shard key, compared with the chunks. */
import type { Command } from './command.js';
import { RouterError } from './errors.js';
import { hashedValue } from './hashed-value.js';
import {
  BSON_TYPE,
  documentOf,
  documentsOf,
  elements,
  type Fields,
  fieldOf,
  fieldsOf,
  firstName,
  itemsOf,
  NULL,
  type RawValue,
  textOf,
} from './raw-values.js';
import { refused } from './refusals.js';
import type { RoutingTable } from './routing-table.js';
import { canonicalType, compareValues } from './value-order.js';

/** The shards that a query needs. */
export interface Target {
  readonly shards: readonly string[];
  /** Whether the query names one exact value of the whole key. */
  readonly exact: boolean;
}

const DB_REF = ['$ref', '$id', '$db'];

/** Whether a value of a query is an expression such as `{$gt: 1}`. */
export function isExpression(value: RawValue): boolean {
  const document = documentOf(value);
  if (document === undefined) return false;
  const name = firstName(document);
  return name.startsWith('$') && !DB_REF.includes(name);
}

/** The value at a dotted path, undefined where there is none. Errors: ShardKeyNotFound (61) for an array on the way. */
export function valueAt(document: Buffer, path: string): RawValue | undefined {
  let value: RawValue | undefined;
  let inside: Buffer | undefined = document;
  for (const name of path.split('.')) {
    if (inside === undefined) return undefined;
    value = fieldOf(inside, name);
    if (value === undefined) return undefined;
    if (value.type === BSON_TYPE.array) {
      throw refused('arrayInKey');
    }
    inside = documentOf(value);
  }
  return value;
}

/** The values of a document's key; a missing field counts as null. Errors: as {@link valueAt}. */
export function keyOf(table: RoutingTable, document: Buffer): RawValue[] {
  return table.paths.map((path) => valueAt(document, path) ?? NULL);
}

/** The value that a query demands of a field by equality; undefined where it does not. */
export function equalityAt(query: Buffer, path: string): RawValue | undefined {
  for (const { name, value } of elements(query)) {
    const found =
      name === '$and' ? firstOf(documentsOf(value), (each) => equalityAt(each, path)) : equality(name, value, path);
    if (found !== undefined) return found;
  }
  return undefined;
}

function equality(name: string, value: RawValue, path: string): RawValue | undefined {
  if (name === path) {
    const demanded = isExpression(value) ? demandedBy(fieldsOf(value.bytes)) : value;
    return demanded === undefined || isPattern(demanded) ? undefined : demanded;
  }
  const document = documentOf(value);
  if (document === undefined || !path.startsWith(`${name}.`) || isExpression(value)) return undefined;
  try {
    return valueAt(document, path.slice(name.length + 1));
  } catch (error) {
    if (error instanceof RouterError) return undefined;
    throw error;
  }
}

function demandedBy(expression: Fields): RawValue | undefined {
  const equal = expression.get('$eq');
  const among = itemsOf(expression.get('$in'));
  return equal ?? (among.length === 1 ? among[0] : undefined);
}

/** Regular expressions match more than themselves, arrays also their items. */
function isPattern({ type }: RawValue): boolean {
  return type === BSON_TYPE.regex || type === BSON_TYPE.array;
}

function firstOf<T, R>(items: readonly T[], look: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A place in the order of all values: a value, or the place before or after all values of a type. */
type Point = { readonly value: RawValue } | { readonly canonical: number };

/** Both ends included. */
interface Interval {
  readonly low: Point;
  readonly high: Point;
}

const LOWEST = { canonical: -2 };
const HIGHEST = { canonical: 128 };

/** Negative, 0 or positive as the value stands before, at or behind the point. */
function comparePoint(value: RawValue, point: Point): number {
  return 'value' in point ? compareValues(value, point.value) : canonicalType(value) - point.canonical;
}

/** What a query leaves of one field's values; undefined where it says nothing that helps. */
function intervalsAt(query: Buffer, path: string): Interval[] | undefined {
  return firstOf([...elements(query)], ({ name, value }) => {
    if (name === '$and') return firstOf(documentsOf(value), (each) => intervalsAt(each, path));
    return name === path && isExpression(value) ? intervalsOf(fieldsOf(value.bytes)) : undefined;
  });
}

function intervalsOf(expression: Fields): Interval[] | undefined {
  const among = expression.get('$in');
  if (among !== undefined && !itemsOf(among).some(isPattern)) {
    return itemsOf(among).map((value) => ({ low: { value }, high: { value } }));
  }
  const bound = (...names: string[]): RawValue | undefined =>
    firstOf(names, (name) => {
      const value = expression.get(name);
      return value === undefined || isPattern(value) ? undefined : value;
    });
  const [low, high] = [bound('$gt', '$gte'), bound('$lt', '$lte')];
  if (low === undefined && high === undefined) return undefined;
  // A range stays within one type, but for those from MinKey or to MaxKey.
  return [{ low: low ? { value: low } : typeEdge(high, -0.5), high: high ? { value: high } : typeEdge(low, 0.5) }];
}

function typeEdge(other: RawValue | undefined, beside: number): Point {
  const open = beside < 0 ? LOWEST : HIGHEST;
  if (other === undefined || other.type === BSON_TYPE.minKey || other.type === BSON_TYPE.maxKey) return open;
  return { canonical: canonicalType(other) + beside };
}

/** Whether strings compare by their bytes under a command's, or a statement's, collation. */
export function comparesSimply(options: Command | Fields, table: RoutingTable): boolean {
  const collation = options.get('collation');
  if (collation === undefined) return table.simpleCollation;
  return textOf(fieldsOf(collation.bytes).get('locale')) === 'simple';
}

/** Under another collation the equality of texts, and of documents that may hold some, says nothing about bytes. */
function isUsable(value: RawValue, simple: boolean): boolean {
  return simple || (value.type !== BSON_TYPE.string && value.type !== BSON_TYPE.document);
}

/** The shards that may hold documents of a query, at least one. */
export function targetQuery(table: RoutingTable, query: Buffer, simple: boolean): Target {
  const either = alternatives(query);
  if (either !== undefined) {
    const shards = new Set(either.flatMap((each) => targetQuery(table, each, simple).shards));
    return { shards: [...shards].sort(), exact: false };
  }
  const key = table.paths.map((path) => equalityAt(query, path));
  if (key.every((value) => value !== undefined && isUsable(value, simple))) {
    return { shards: [table.shardOf(key as RawValue[])], exact: true };
  }
  return { shards: shardsByFirstField(table, query, simple), exact: false };
}

/** The queries of a lone `$or`. */
function alternatives(query: Buffer): Buffer[] | undefined {
  const fields = [...elements(query)];
  return fields.length === 1 && fields[0]?.name === '$or' ? documentsOf(fields[0].value) : undefined;
}

function shardsByFirstField(table: RoutingTable, query: Buffer, simple: boolean): readonly string[] {
  const path = table.paths[0] as string;
  const hashed = table.hashed[0] === true;
  const value = equalityAt(query, path);
  if (value !== undefined) {
    if (!isUsable(value, simple)) return table.shards;
    const point = { value: hashed ? hashedValue(value) : value };
    return shardsOf(table, [{ low: point, high: point }]);
  }
  const intervals = hashed || !simple ? undefined : intervalsAt(query, path);
  return intervals === undefined ? table.shards : shardsOf(table, intervals);
}

function shardsOf(table: RoutingTable, intervals: readonly Interval[]): readonly string[] {
  const found = new Set<string>();
  for (const { low, high } of intervals) {
    for (const chunk of table.chunks) {
      const [min, max] = [chunk.low[0] as RawValue, chunk.high[0] as RawValue];
      if (comparePoint(min, high) <= 0 && comparePoint(max, low) >= 0) found.add(chunk.shard);
    }
  }
  return found.size > 0 ? [...found].sort() : table.shards.slice(0, 1);
}
