/** Which shards an insert, update or delete statement is sent to, and which statements a mongos refuses. */
import {
  elements,
  type Fields,
  fieldOf,
  fieldsOf,
  firstName,
  isTrue,
  NULL,
  type RawValue,
  shown,
} from './raw-values.js';
import { refused } from './refusals.js';
import type { RoutingTable } from './routing-table.js';
import { comparesSimply, equalityAt, keyOf, type Target, targetQuery, valueAt } from './targeting.js';

/** The commands that carry statements. */
export type WriteKind = 'insert' | 'update' | 'delete';

const EMPTY = Buffer.from([5, 0, 0, 0, 0]);

/**
 * The shards of one statement (raw BSON). `all`: every shard of the cluster.
 *
 * Errors: ShardKeyNotFound (61), InvalidOptions (72), in the words of a mongos of 6.0. Source: its `ChunkManagerTargeter`.
 */
export function targetWrite(
  kind: WriteKind,
  statement: Buffer,
  { table, all }: { readonly table: RoutingTable; readonly all: readonly string[] },
): readonly string[] {
  if (kind === 'insert') return [table.shardOf(keyOf(table, statement))];
  const fields = fieldsOf(statement);
  const query = fields.get('q')?.bytes ?? EMPTY;
  const simple = comparesSimply(fields, table);
  const target = targetQuery(table, query, simple);
  const one: Statement = { raw: statement, fields, query, hasId: simple && equalityAt(query, '_id') !== undefined };
  const shards = kind === 'update' ? targetUpdate(one, table, target) : targetDelete(one, table, target);
  // A mongos sends multi writes to all shards, with a version that none checks: chunks may be on the move.
  return isMulti(fields) && shards.length > 1 ? [...new Set([...all, ...shards])] : shards;
}

interface Statement {
  readonly raw: Buffer;
  readonly fields: Fields;
  readonly query: Buffer;
  /** Whether the query demands one `_id`. */
  readonly hasId: boolean;
}

/** Whether an update or delete may touch more than one document. */
export function isMulti(fields: Fields): boolean {
  const limit = fields.get('limit');
  return limit === undefined ? isTrue(fields.get('multi')) : !isTrue(limit);
}

function targetUpdate(
  { raw, fields, query, hasId }: Statement,
  table: RoutingTable,
  target: Target,
): readonly string[] {
  if (isTrue(fields.get('upsert')) && !target.exact) {
    throw refused('upsertWithoutKey');
  }
  if (target.shards.length === 1) return target.shards;
  const replacement = replacementOf(fields.get('u'));
  if (replacement !== undefined) return [table.shardOf(keyOfReplacement(table, replacement, query))];
  if (isMulti(fields) || hasId) return target.shards;
  throw refused('updateWithoutKey', { count: target.shards.length, statement: shown(raw), key: shown(table.key) });
}

function targetDelete({ raw, fields, hasId }: Statement, table: RoutingTable, target: Target): readonly string[] {
  if (target.shards.length === 1 || isMulti(fields) || hasId) return target.shards;
  throw refused('deleteWithoutKey', { statement: shown(raw), key: shown(table.key) });
}

/** Undefined for operators and pipelines. */
function replacementOf(update: RawValue | undefined): Buffer | undefined {
  if (update === undefined || update.type !== 3 || firstName(update.bytes).startsWith('$')) return undefined;
  return update.bytes;
}

/** A replacement keeps the `_id` of the document it replaces. */
function keyOfReplacement(table: RoutingTable, replacement: Buffer, query: Buffer): RawValue[] {
  if (!table.paths.includes('_id') || fieldOf(replacement, '_id') !== undefined) return keyOf(table, replacement);
  return table.paths.map((path) => (path === '_id' ? equalityAt(query, '_id') : valueAt(replacement, path)) ?? NULL);
}

/** Whether a statement holds a field; for `upsert` of statements not parsed otherwise. */
export function hasFlag(statement: Buffer, name: string): boolean {
  for (const element of elements(statement)) if (element.name === name) return isTrue(element.value);
  return false;
}
