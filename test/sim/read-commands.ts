/** find, getMore, count and the aggregations that read documents, on a simulated server. */
import { Long } from 'mongodb';
import { Codes, serverError } from './errors.js';
import { type Matcher, matcher } from './query.js';
import { documentFrom, type Field, fieldsOf, toField, toRaw } from './raw.js';
import {
  type Answer,
  cursorReply,
  type Doc,
  numberOf,
  type Request,
  uuidMismatch,
  uuidOf,
  wholeReply,
} from './request.js';
import type { FakeServer } from './server.js';
import { sortKey } from './sort-key.js';
import { FakeCollection } from './storage.js';
import { SimulationError } from './world.js';

/** A cursor that is open. Documents are read as they are when they are asked for. */
export interface OpenCursor {
  /** Reads on. */
  more(request: Request): Promise<Answer>;
  /** Nobody will ask for more. */
  close(): void;
}

/** How a find reads. */
interface Scan {
  readonly matches: Matcher;
  readonly isNatural: boolean;
  readonly isBackward: boolean;
  readonly max: string | undefined;
  readonly shape: (raw: Buffer, record: number) => Buffer;
  readonly givesToken: boolean;
  left: number;
  /** Where it is: before everything, at a key or at a record. */
  from: { readonly key: string; readonly isIncluded: boolean } | undefined;
  record: number;
}

const KNOWN = new Set([
  ...['find', 'filter', 'hint', 'min', 'max', 'batchSize', 'readConcern', 'collectionUUID', 'limit', 'projection'],
  ...['singleBatch', 'sort', 'showRecordId', '$_requestResumeToken', '$_resumeAfter', 'collation'],
]);

/** Errors: those of the server, 361 for another collection among them. */
export async function find(server: FakeServer, request: Request): Promise<Answer> {
  const { command, db, target } = request;
  for (const name of Object.keys(command))
    if (!KNOWN.has(name)) throw new SimulationError(`a find with ${name} is not simulated`);
  if (db === 'local' && target === 'oplog.rs') return oplogEdge(server, request);
  const { look, time } = await server.view(command['readConcern'] as Doc | undefined);
  const collection = guarded(server, request);
  if (collection === undefined) return { reply: wholeReply(request, `${db}.${target}`, []), time };
  const scan = scanOf(command, collection);
  if (command['$_resumeAfter'] !== undefined) scan.record = resumed(collection, command['$_resumeAfter'] as Doc);
  const size = batchSize(server, command);
  const documents = look(() => readOn(collection, scan, size));
  const isOver = scan.left === 0 || documents.length < size || command['singleBatch'] === true;
  const cursor = new FindCursor(server, collection, scan);
  const id = isOver ? 0 : server.cursors.open(cursor);
  return { reply: cursor.reply(request, documents, id, true), time };
}

class FindCursor implements OpenCursor {
  readonly #server: FakeServer;
  readonly #collection: FakeCollection;
  readonly #scan: Scan;
  readonly #ns: string;

  constructor(server: FakeServer, collection: FakeCollection, scan: Scan) {
    this.#server = server;
    this.#collection = collection;
    this.#scan = scan;
    this.#ns = `${collection.db}.${collection.name}`;
  }

  reply(request: Request, documents: readonly Buffer[], id: number, isFirst: boolean): Doc {
    const token = this.#scan.givesToken ? { $recordId: Long.fromNumber(this.#scan.record) } : undefined;
    return cursorReply(request, { documents, id, ns: this.#ns, isFirst, token });
  }

  async more(request: Request): Promise<Answer> {
    const { name, db } = this.#collection;
    if (this.#ns !== `${db}.${name}` || this.#server.catalog.find(db, name) !== this.#collection)
      throw serverError(Codes.QueryPlanKilled, 'collection dropped or renamed between getMore calls');
    const { look, time } = await this.#server.view({ level: 'majority' });
    const size = batchSize(this.#server, request.command);
    const documents = look(() => readOn(this.#collection, this.#scan, size));
    const isOver = this.#scan.left === 0 || documents.length < size;
    const id = numberOf(request.command['getMore']);
    if (isOver) this.#server.cursors.close(id);
    return { reply: this.reply(request, documents, isOver ? 0 : id, false), time };
  }

  close(): void {
    this.#scan.left = 0;
  }
}

/** The collection of a request, guarded by the UUID it names. Undefined: there is none, and none was named. */
export function guarded(server: FakeServer, request: Request): FakeCollection | undefined {
  const { db, target, command } = request;
  const uuid = uuidOf(command['collectionUUID']);
  const entry = server.catalog.find(db, target);
  if (uuid !== undefined && !(entry instanceof FakeCollection && entry.uuid.equals(uuid))) {
    const actual = server.catalog.byUuid(uuid);
    throw uuidMismatch(request, actual?.db === db ? actual.name : undefined);
  }
  if (entry !== undefined && !(entry instanceof FakeCollection))
    throw serverError(Codes.CommandNotSupportedOnView, `Namespace ${db}.${target} is a view, not a collection`);
  return entry;
}

function scanOf(command: Doc, collection: FakeCollection): Scan {
  const sort = command['sort'] as Doc | undefined;
  const hint = command['hint'] as Doc | undefined;
  const min = command['min'] as Doc | Map<string, unknown> | undefined;
  const max = command['max'] as Doc | Map<string, unknown> | undefined;
  const limit = numberOf(command['limit'] ?? 0);
  const isNatural = sort?.['$natural'] !== undefined || hint?.['$natural'] !== undefined;
  return {
    matches: matcher(command['filter'] ?? {}, collection.foldsCase),
    // Without a hint a server reads as the records lie, too; whoever asks by _id does not care.
    isNatural: isNatural || (hint === undefined && sort === undefined),
    isBackward: sort?.['$natural'] === -1,
    max: max === undefined ? undefined : keyOf(max, collection),
    from: min === undefined ? undefined : { key: keyOf(min, collection), isIncluded: true },
    record: 0,
    left: limit === 0 ? Number.POSITIVE_INFINITY : limit,
    givesToken: command['$_requestResumeToken'] === true,
    shape: shapeOf(command),
  };
}

function keyOf(bound: Doc | Map<string, unknown>, { foldsCase }: FakeCollection): string {
  const value = bound instanceof Map ? bound.get('_id') : bound['_id'];
  return sortKey(toField('_id', value), foldsCase);
}

function shapeOf(command: Doc): Scan['shape'] {
  const projection = command['projection'] as Doc | undefined;
  const showsRecord = command['showRecordId'] === true;
  if (projection === undefined && !showsRecord) return (raw) => raw;
  const keeps = ({ name }: Field): boolean => projection === undefined || name === '_id' || projection[name] === 1;
  return (raw, record) => {
    const kept = fieldsOf(raw).filter(keeps);
    return documentFrom(showsRecord ? [...kept, toField('$recordId', Long.fromNumber(record))] : kept);
  };
}

function readOn(collection: FakeCollection, scan: Scan, size: number): Buffer[] {
  const documents: Buffer[] = [];
  const rows = scan.isNatural ? collection.natural : collection.sorted;
  for (const [record, stored] of scan.isBackward ? rows.toReversed() : rows) {
    if (documents.length >= size || scan.left === 0) break;
    if (scan.isNatural ? !scan.isBackward && record <= scan.record : isBefore(stored.key, scan.from)) continue;
    if (!scan.isNatural && scan.max !== undefined && stored.key >= scan.max) break;
    scan.record = record;
    scan.from = { key: stored.key, isIncluded: false };
    if (!scan.matches(stored.raw)) continue;
    scan.left--;
    documents.push(scan.shape(stored.raw, record));
  }
  return documents;
}

function isBefore(key: string, from: Scan['from']): boolean {
  return from !== undefined && (key < from.key || (key === from.key && !from.isIncluded));
}

function resumed(collection: FakeCollection, token: Doc | Map<string, unknown>): number {
  const record = numberOf(token instanceof Map ? token.get('$recordId') : token['$recordId']);
  if (record > 0 && collection.document(record) === undefined)
    throw serverError(Codes.KeyNotFound, `Failed to resume collection scan: the recordId ${record} does not exist`);
  return record;
}

/** A server gives fewer where documents are large: here, by chance. */
function batchSize(server: FakeServer, command: Doc): number {
  const asked = numberOf(command['batchSize'] ?? 101);
  return server.chaos.splitsBatch() ? 1 + server.chaos.random.int(4) : asked;
}

async function oplogEdge(server: FakeServer, request: Request): Promise<Answer> {
  const { entries } = server.state.oplog;
  const isLast = (request.command['sort'] as Doc)['$natural'] === -1;
  const entry = isLast ? entries.at(-1) : entries[0];
  const documents = entry === undefined ? [] : [toRaw({ ts: server.timestamp(entry.time) })];
  return { reply: wholeReply(request, 'local.oplog.rs', documents) };
}

/** getMore of any cursor. */
export async function getMore(server: FakeServer, request: Request): Promise<Answer> {
  const cursor = server.cursors.find(numberOf(request.command['getMore']));
  if (cursor === undefined) throw serverError(Codes.CursorNotFound, 'cursor id not found');
  return cursor.more(request);
}

/** The quick count. */
export async function count(server: FakeServer, request: Request): Promise<Answer> {
  const { db, target } = request;
  return { reply: { n: server.catalog.collection(db, target)?.size ?? 0, ok: 1 } };
}

/** The estimate of a collection's size. */
export async function dataSize(server: FakeServer, { db, target }: Request): Promise<Answer> {
  const collection = server.catalog.collection(db, target.slice(db.length + 1));
  return { reply: { size: collection?.bytes ?? 0, numObjects: collection?.size ?? 0, ok: 1 } };
}

/** Aggregations over the documents of a collection. */
export async function aggregateCollection(server: FakeServer, request: Request): Promise<Answer> {
  const { db, target, command } = request;
  if (db === 'local') return { reply: wholeReply(request, 'local.oplog.rs', []) };
  const { look, time } = await server.view(command['readConcern'] as Doc | undefined);
  const collection = guarded(server, request);
  const stages = (command['pipeline'] as Doc[]).map((stage) => Object.keys(stage)[0]).join();
  const documents = look(() => aggregated(stages, command['pipeline'] as Doc[], collection));
  return { reply: wholeReply(request, `${db}.${target}`, documents), time };
}

function aggregated(stages: string, pipeline: readonly Doc[], collection: FakeCollection | undefined): Buffer[] {
  switch (stages) {
    case '$collStats': {
      if (collection === undefined) throw serverError(Codes.NamespaceNotFound, 'Collection not found');
      const { size: n, bytes } = collection;
      return [toRaw({ storageStats: { count: n, size: bytes, storageSize: bytes, totalIndexSize: 0 } })];
    }
    case '$group':
      return collection === undefined || collection.size === 0 ? [] : [toRaw({ _id: 1, n: collection.size })];
    case '$sample,$group,$sort': {
      const { size } = (pipeline[0] as Doc)['$sample'] as { size: number };
      const rows = collection?.sorted ?? [];
      const step = Math.max(1, Math.floor(rows.length / size));
      return rows.filter((_, index) => index % step === 0).map(([, { id }]) => id);
    }
    case '$listSearchIndexes':
      throw serverError(Codes.UnknownPipelineStage, "Unrecognized pipeline stage name: '$listSearchIndexes'");
    default:
      throw new SimulationError(`the aggregation ${stages} is not simulated`);
  }
}
