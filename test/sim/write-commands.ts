/** insert, update and delete on a simulated server: every statement is one change of its own, as on a real one. */
import { Binary } from 'mongodb';
import { Codes } from './errors.js';
import { entriesOf, matcher } from './query.js';
import { documentsIn, type Field, fieldOf, fieldsOf, fieldValue, Type, toRaw } from './raw.js';
import { type Doc, type Request, uuidOf } from './request.js';
import type { FakeServer } from './server.js';
import type { Transaction } from './server-state.js';
import { sortKey } from './sort-key.js';
import { type FakeCollection, type Spec, type StoredDocument, withTimes } from './storage.js';
import { timeBytes, updated } from './update-statements.js';
import { SimulationError } from './world.js';

/** A refused statement, as `writeErrors` holds it. */
export interface StatementError {
  readonly index: number;
  readonly code: number;
  readonly errmsg: string;
  readonly [more: string]: unknown;
}

/** What a statement did. */
interface Outcome {
  readonly n: number;
  readonly modified: number;
  readonly upserted?: Buffer;
}

class Refused extends Error {
  readonly code: number;
  readonly more: Doc;

  constructor(code: number, text: string, more: Doc = {}) {
    super(text);
    this.code = code;
    this.more = more;
  }
}

const KINDS = { insert: 'documents', update: 'updates', delete: 'deletes' } as const;
type Kind = keyof typeof KINDS;
const KNOWN = new Set([
  ...['insert', 'update', 'delete', 'documents', 'updates', 'deletes', 'ordered', 'bypassDocumentValidation'],
  ...['collectionUUID', 'writeConcern', 'txnNumber', 'stmtIds', 'mayBypassWriteBlocking'],
]);

/** Carries out a write command on the primary; its reply without what a majority says. */
export function write(server: FakeServer, request: Request): Doc {
  const { command } = request;
  const kind = request.name as Kind;
  for (const name of Object.keys(command))
    if (!KNOWN.has(name)) throw new SimulationError(`a ${kind} with ${name} is not simulated`);
  const reply: Doc = { n: 0, ok: 1, ...(kind === 'update' ? { nModified: 0 } : {}) };
  const writeErrors: StatementError[] = [];
  for (const [index, raw] of statementsOf(command[KINDS[kind]]).entries()) {
    try {
      count(
        reply,
        index,
        server.state.change((tx) => runOne(server, request, kind, raw, tx)),
      );
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      writeErrors.push({ index, code: error.code, errmsg: error.message, ...error.more });
      if (command['ordered'] !== false) break;
    }
  }
  return writeErrors.length > 0 ? { ...reply, writeErrors } : reply;
}

function count(reply: Doc, index: number, { n, modified, upserted }: Outcome): void {
  reply['n'] = Number(reply['n']) + n;
  if (reply['nModified'] !== undefined) reply['nModified'] = Number(reply['nModified']) + modified;
  if (upserted === undefined) return;
  const field = fieldOf(upserted, '_id');
  reply['upserted'] = [
    ...((reply['upserted'] as Doc[] | undefined) ?? []),
    { index, _id: field === undefined ? undefined : fieldValue(field) },
  ];
}

/** Documents come as objects, or as the driver's sequence of raw ones. */
function statementsOf(payload: unknown): Buffer[] {
  if (Array.isArray(payload)) return payload.map((each) => (Buffer.isBuffer(each) ? each : toRaw(each as object)));
  const { chunks } = payload as { chunks: Buffer[] };
  return chunks.slice(1).flatMap(documentsIn);
}

function runOne(server: FakeServer, request: Request, kind: Kind, raw: Buffer, tx: Transaction): Outcome {
  const { db, target, command } = request;
  if (!server.letsWrite(request)) throw new Refused(Codes.UserWritesBlocked, 'User writes blocked');
  const collection = targetOf(server, request, kind, raw, tx);
  if (kind === 'insert') {
    if (collection === undefined) throw new SimulationError(`an insert into ${db}.${target}`);
    insertOne(server, collection, raw, tx, true);
    return { n: 1, modified: 0 };
  }
  if (collection === undefined) return { n: 0, modified: 0 };
  return kind === 'delete' ? deleteSome(collection, raw, tx) : updateOne(server, collection, raw, tx, command);
}

/** The collection to write to, made if need be. */
function targetOf(
  server: FakeServer,
  request: Request,
  kind: Kind,
  raw: Buffer,
  tx: Transaction,
): FakeCollection | undefined {
  const { db, target, command } = request;
  const uuid = uuidOf(command['collectionUUID']);
  const entry = server.catalog.collection(db, target);
  if (uuid !== undefined && entry?.uuid.equals(uuid) !== true) {
    const actual = server.catalog.byUuid(uuid);
    throw new Refused(Codes.CollectionUUIDMismatch, 'Collection UUID does not match that specified', {
      actualCollection: actual?.db === db ? actual.name : null,
    });
  }
  if (entry === undefined && server.catalog.find(db, target) !== undefined)
    throw new Refused(Codes.CommandNotSupportedOnView, `Namespace ${db}.${target} is a view, not a collection`);
  const isMade = kind === 'insert' || (kind === 'update' && isTrue(fieldOf(raw, 'upsert')));
  return entry ?? (isMade ? server.createCollection(db, target, new Map(), tx) : undefined);
}

function isTrue(field: Field | undefined): boolean {
  return field?.type === Type.boolean && field.value[0] === 1;
}

/** `isPlain`: the server puts the time in place of empty timestamps. */
export function insertOne(
  server: FakeServer,
  collection: FakeCollection,
  raw: Buffer,
  tx: Transaction,
  isPlain: boolean,
): StoredDocument {
  const timed = isPlain ? withTimes(raw, timeBytes(tx.time)) : raw;
  const stored = collection.toStored(timed);
  const record = collection.recordOf(stored.key);
  if (record !== undefined) throw duplicate('_id_', new Map([['_id', 1]]));
  refuseViolation(collection, stored, undefined);
  const { uuid, db, name: coll } = collection;
  tx.did(collection.put(undefined, stored), {
    operationType: 'insert',
    ns: { db, coll },
    uuid,
    key: stored.id,
    document: stored.raw,
  });
  evict(server, collection, tx);
  return stored;
}

function refuseViolation(
  collection: FakeCollection,
  stored: StoredDocument,
  record: number | undefined,
  before?: StoredDocument,
): void {
  const index = collection.violated(stored, record, before);
  if (index !== undefined) throw duplicate(String(index.get('name')), index.get('key') as Spec);
}

function duplicate(name: string, keyPattern: Spec): Refused {
  return new Refused(Codes.DuplicateKey, `E11000 duplicate key error index: ${name} dup key: {}`, {
    keyPattern: Object.fromEntries(keyPattern),
  });
}

/** A capped collection lets its oldest documents go. */
function evict(server: FakeServer, collection: FakeCollection, tx: Transaction): void {
  if (!collection.isCapped) return;
  const max = server.numberOption(collection, 'max') || Number.POSITIVE_INFINITY;
  const size = server.numberOption(collection, 'size');
  while (collection.size > max || (collection.bytes > size && collection.size > 1)) {
    const [oldest] = collection.natural;
    if (oldest === undefined) return;
    remove(collection, oldest[0], oldest[1], tx);
  }
}

function remove(collection: FakeCollection, record: number, stored: StoredDocument, tx: Transaction): void {
  const { uuid, db, name: coll } = collection;
  tx.did(collection.put(record, undefined), { operationType: 'delete', ns: { db, coll }, uuid, key: stored.id });
}

function deleteSome(collection: FakeCollection, statement: Buffer, tx: Transaction): Outcome {
  const isOne = Number(fieldValue(fieldOf(statement, 'limit') as Field)) === 1;
  const found = findAll(collection, fieldOf(statement, 'q') as Field);
  const removed = isOne ? found.slice(0, 1) : found;
  for (const [record, stored] of removed) remove(collection, record, stored, tx);
  return { n: removed.length, modified: 0 };
}

function findAll(collection: FakeCollection, query: Field): (readonly [number, StoredDocument])[] {
  const id = fieldOf(query.value, '_id');
  const others = fieldsOf(query.value).filter(({ name }) => name !== '_id');
  const isById = id !== undefined && (id.type !== Type.document || !hasOperators(id.value));
  const matches = matcher(
    new Map((isById ? others : fieldsOf(query.value)).map((field) => [field.name, orderedValue(field)])),
    collection.foldsCase,
  );
  if (!isById) return collection.natural.filter(([, { raw }]) => matches(raw));
  const record = collection.recordOf(sortKey(id, collection.foldsCase));
  const stored = record === undefined ? undefined : collection.document(record);
  return record !== undefined && stored !== undefined && matches(stored.raw) ? [[record, stored]] : [];
}

function hasOperators(doc: Buffer): boolean {
  return fieldsOf(doc)[0]?.name.startsWith('$') === true;
}

function orderedValue(field: Field): unknown {
  return fieldValue(field);
}

function updateOne(
  server: FakeServer,
  collection: FakeCollection,
  statement: Buffer,
  tx: Transaction,
  _command: Doc,
): Outcome {
  const query = fieldOf(statement, 'q') as Field;
  const update = fieldOf(statement, 'u') as Field;
  const [found] = findAll(collection, query);
  if (found === undefined) {
    if (!isTrue(fieldOf(statement, 'upsert'))) return { n: 0, modified: 0 };
    const id = fieldOf(query.value, '_id');
    const made = updated(server, undefined, id, update, tx);
    const stored = insertOne(server, collection, made.raw, tx, made.isPlain);
    return { n: 1, modified: 0, upserted: stored.id };
  }
  const [record, before] = found;
  const after = updated(server, before.raw, undefined, update, tx);
  if (after.raw.equals(before.raw)) return { n: 1, modified: 0 };
  replaceOne(collection, { record, before, after: after.raw, delta: after.delta }, tx);
  return { n: 1, modified: 1 };
}

/** Puts another state in a document's place. */
export function replaceOne(
  collection: FakeCollection,
  change: {
    readonly record: number;
    readonly before: StoredDocument;
    readonly after: Buffer;
    readonly delta: Buffer | undefined;
  },
  tx: Transaction,
): void {
  const stored = collection.toStored(change.after);
  if (stored.key !== change.before.key)
    throw new Refused(Codes.ImmutableField, "Performing an update on the path '_id' would modify the immutable field");
  refuseViolation(collection, stored, change.record, change.before);
  const { uuid, db, name: coll } = collection;
  const event = { ns: { db, coll }, uuid, key: stored.id };
  tx.did(
    collection.put(change.record, stored),
    change.delta === undefined
      ? { ...event, operationType: 'replace', document: stored.raw }
      : { ...event, operationType: 'update', delta: change.delta },
  );
}

/** A UUID as BSON has it. */
export function uuidBinary(uuid: Buffer): Binary {
  return new Binary(uuid, Binary.SUBTYPE_UUID);
}

/** The entries of a Map or object, as the server's own ordered ones. */
export function toSpec(value: unknown): Spec {
  return entriesOf(value);
}
