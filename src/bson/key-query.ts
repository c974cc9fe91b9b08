/** Builds queries that name one document of a sharded collection: by the fields of its shard key and its `_id`. */
import { documentOf, documentOfFields, fieldOf, findField, type RawField, rawName } from './raw-document.js';

/** The field paths of shard keys, in their order; none where the collection is not sharded. */
export interface KeyPaths {
  readonly source: readonly string[];
  readonly destination: readonly string[];
}

/** Of a collection that is sharded nowhere. */
export const UNSHARDED: KeyPaths = { source: [], destination: [] };

const TYPE = { document: 3, undefined: 6, null: 10, regex: 11 } as const;
const NOTHING = Buffer.alloc(0);

/**
 * A query for the document that a change event's `documentKey` names: `{customer: 95, _id: 7}`. The server leaves out
 * fields that the document does not have (SERVER-75993): those must be null or missing, so that no other document with
 * the same `_id` is meant. A key of nothing but `_id` may be from before the collection was sharded, and stays as it is.
 *
 * @param key raw; dotted paths stand in it as they are: `{"address.city": …, _id: …}`
 */
export function keyQuery(key: Buffer, paths: readonly string[]): Buffer {
  const others = paths.filter((path) => path !== '_id');
  if (others.length === 0 || others.every((path) => findField(key, rawName(path)) === undefined)) return idOnly(key);
  return queryOf(key, others, (path) => {
    const field = findField(key, rawName(path));
    return field && { doc: key, field };
  });
}

/** A query for a whole document, by the shard key's fields and its `_id`. */
export function documentQuery(doc: Buffer, paths: readonly string[]): Buffer {
  const others = paths.filter((path) => path !== '_id');
  return others.length === 0 ? idOnly(doc) : queryOf(doc, others, (path) => findPath(doc, path.split('.')));
}

/** Whether a document has the shard key values that an event's `documentKey` has, byte for byte. */
export function hasKey(doc: Buffer, key: Buffer, paths: readonly string[]): boolean {
  return documentQuery(doc, paths).equals(keyQuery(key, paths));
}

interface Found {
  readonly doc: Buffer;
  readonly field: RawField;
}

function queryOf(doc: Buffer, paths: readonly string[], find: (path: string) => Found | undefined): Buffer {
  const fields = paths.map((path) => conditionOf(rawName(path), find(path)));
  const id = findField(doc, '_id');
  if (id !== undefined) fields.push(fieldOf('_id', id.type, doc.subarray(id.start, id.end)));
  return documentOfFields(...fields);
}

/** Values that a query would take for an operator are compared by `$eq`. */
function conditionOf(name: string, found: Found | undefined): Buffer {
  if (found === undefined) return fieldOf(name, TYPE.null, NOTHING);
  const { doc, field } = found;
  const value = doc.subarray(field.start, field.end);
  const isPlain = field.type !== TYPE.document && field.type !== TYPE.regex && field.type !== TYPE.undefined;
  return isPlain
    ? fieldOf(name, field.type, value)
    : fieldOf(name, TYPE.document, documentOf('$eq', field.type, value));
}

/** The value at a path through documents; arrays are no documents, and no values of a shard key. */
function findPath(doc: Buffer, names: readonly string[]): Found | undefined {
  const [name = '', ...rest] = names;
  const field = findField(doc, rawName(name));
  if (field === undefined || rest.length === 0) return field && { doc, field };
  return field.type === TYPE.document ? findPath(doc.subarray(field.start, field.end), rest) : undefined;
}

function idOnly(doc: Buffer): Buffer {
  const id = findField(doc, '_id');
  if (id === undefined) return doc;
  const isWhole = id.start === FIRST_VALUE && id.end === doc.length - 1;
  return isWhole ? doc : documentOfFields(fieldOf('_id', id.type, doc.subarray(id.start, id.end)));
}

/** Where the value of a first field `_id` stands: after the length, the type and the name. */
const FIRST_VALUE = 9;
