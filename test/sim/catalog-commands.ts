/** Commands that list or change the catalog of a simulated server. */
import { Int32 } from 'mongodb';
import { changeIndexes } from './catalog.js';
import { Codes, serverError } from './errors.js';
import type { StreamEvent } from './oplog.js';
import { matcher } from './query.js';
import { toRaw } from './raw.js';
import { guarded } from './read-commands.js';
import { type Answer, type Doc, numberOf, type Request, uuidOf, wholeReply } from './request.js';
import type { FakeServer } from './server.js';
import type { Transaction } from './server-state.js';
import { FakeCollection, type Spec } from './storage.js';
import { describe } from './stream-events.js';
import { uuidBinary } from './write-commands.js';

/** Without what every command may bear. */
export function optionsOf(command: Doc, ...without: string[]): Map<string, unknown> {
  const known = new Set([...without, 'writeConcern', 'mayBypassWriteBlocking', 'collectionUUID']);
  return new Map(Object.entries(command).filter(([name]) => !known.has(name)));
}

const ID_INDEX = new Map<string, unknown>([
  ['v', new Int32(2)],
  ['key', new Map([['_id', new Int32(1)]])],
  ['name', '_id_'],
]);

export async function listDatabases(server: FakeServer, { command }: Request): Promise<Answer> {
  const matches = matcher(command['filter'] ?? {});
  const named = ['admin', 'config', 'local', ...server.catalog.names].map((name) => ({
    name,
    sizeOnDisk: 1000,
    empty: false,
  }));
  return { reply: { databases: named.filter((each) => matches(toRaw(each))), totalSize: 1000, ok: 1 } };
}

/** As the primary has it, be it that no majority does. */
export async function listCollections(server: FakeServer, request: Request): Promise<Answer> {
  const { db, command } = request;
  const matches = matcher(command['filter'] ?? {});
  const isShort = command['nameOnly'] === true;
  const documents = server.catalog
    .entries(db)
    .map(([name, entry]) => toRaw(listed(name, entry, isShort)))
    .filter(matches);
  return { reply: wholeReply(request, `${db}.$cmd.listCollections`, documents) };
}

function listed(
  name: string,
  entry: FakeCollection | { readonly viewOptions: Spec },
  isShort: boolean,
): Map<string, unknown> {
  const isCollection = entry instanceof FakeCollection;
  const head: [string, unknown][] = [
    ['name', name],
    ['type', isCollection ? 'collection' : 'view'],
  ];
  if (isShort) return new Map(head);
  if (!isCollection) return new Map([...head, ['options', entry.viewOptions], ['info', { readOnly: true }]]);
  return new Map<string, unknown>([
    ...head,
    ['options', entry.options],
    [
      'info',
      new Map<string, unknown>([
        ['readOnly', false],
        ['uuid', uuidBinary(entry.uuid)],
      ]),
    ],
    ['idIndex', ID_INDEX],
  ]);
}

export async function listIndexes(server: FakeServer, request: Request): Promise<Answer> {
  const { db, target } = request;
  const collection = guarded(server, request);
  if (collection === undefined) throw serverError(Codes.NamespaceNotFound, `ns does not exist: ${db}.${target}`);
  const finished = [...collection.indexes.values()].map(asListed);
  const documents = [ID_INDEX, ...finished, ...server.builds.listed(collection)].map(toRaw);
  return { reply: wholeReply(request, `${db}.${target}`, documents) };
}

/** Expiry is an int there, whatever is stored. */
function asListed(spec: Spec): Spec {
  const seconds = spec.get('expireAfterSeconds');
  return seconds === undefined ? spec : new Map([...spec, ['expireAfterSeconds', new Int32(numberOf(seconds))]]);
}

/** Errors: 5 when a view would be defined by itself, over however many others. */
export function refuseCycle(server: FakeServer, db: string, name: string, options: Spec): void {
  for (let on: unknown = options.get('viewOn'); on !== undefined; ) {
    if (on === name) throw serverError(Codes.GraphContainsCycle, 'View cycle detected');
    const entry = server.catalog.find(db, String(on));
    on = entry === undefined || entry instanceof FakeCollection ? undefined : entry.viewOptions.get('viewOn');
  }
}

export function create(server: FakeServer, request: Request): void {
  const { db, target, command } = request;
  const existing = server.catalog.find(db, target);
  if (existing !== undefined) throw serverError(Codes.NamespaceExists, `Collection ${db}.${target} already exists.`);
  const options = optionsOf(command, 'create');
  const viewOn = options.get('viewOn');
  server.state.change((tx) => {
    if (viewOn === undefined) return void server.createCollection(db, target, options, tx);
    server.refuseTwin(db);
    refuseCycle(server, db, target, options);
    tx.did(server.catalog.put(db, target, { viewOptions: options }), {
      operationType: 'create',
      ns: { db, coll: target },
      description: describe(options),
    });
  });
}

export function drop(server: FakeServer, request: Request): void {
  const { db, target } = request;
  const entry = server.catalog.find(db, target);
  const uuid = uuidOf(request.command['collectionUUID']);
  if (entry === undefined && uuid === undefined) throw serverError(Codes.NamespaceNotFound, 'ns not found');
  if (uuid !== undefined) guarded(server, request);
  server.state.change((tx) => dropEntry(server, db, target, tx));
}

/** Drops a collection or view. */
export function dropEntry(server: FakeServer, db: string, name: string, tx: Transaction): void {
  const entry = server.catalog.find(db, name);
  const event: StreamEvent = {
    operationType: 'drop',
    ns: { db, coll: name },
    ...(entry instanceof FakeCollection ? { uuid: entry.uuid } : {}),
  };
  if (entry instanceof FakeCollection) server.builds.abort(entry, Codes.IndexBuildAborted);
  tx.did(server.catalog.put(db, name, undefined), event);
}

/** Collections one by one, then views, which no event tells of, and the database. */
export function dropDatabase(server: FakeServer, { db }: Request): void {
  if (!server.catalog.knows(db)) return;
  for (const [name, entry] of server.catalog.entries(db))
    if (entry instanceof FakeCollection) server.state.change((tx) => dropEntry(server, db, name, tx));
  server.state.change((tx) => {
    for (const [name] of server.catalog.entries(db)) tx.did(server.catalog.put(db, name, undefined));
    tx.did(server.catalog.forget(db), { operationType: 'dropDatabase', ns: { db } });
  });
}

function split(ns: string): { readonly db: string; readonly coll: string } {
  const dot = ns.indexOf('.');
  return { db: ns.slice(0, dot), coll: ns.slice(dot + 1) };
}

/** Within a database. */
export function renameCollection(server: FakeServer, { command }: Request): void {
  const from = split(String(command['renameCollection']));
  const to = split(String(command['to']));
  const collection = server.catalog.collection(from.db, from.coll);
  if (collection === undefined) throw serverError(Codes.NamespaceNotFound, 'Source collection does not exist');
  server.builds.refuseWhileBuilding(collection);
  const target = server.catalog.find(to.db, to.coll);
  if (target !== undefined && (command['dropTarget'] !== true || !(target instanceof FakeCollection)))
    throw serverError(Codes.NamespaceExists, 'target namespace exists');
  if (target instanceof FakeCollection) server.builds.refuseWhileBuilding(target);
  const replaced = target instanceof FakeCollection ? [['dropTarget', uuidBinary(target.uuid)] as const] : [];
  server.state.change((tx) => {
    if (target !== undefined) tx.did(server.catalog.put(to.db, to.coll, undefined));
    tx.did(server.catalog.rename(collection, to.coll), {
      operationType: 'rename',
      ns: from,
      uuid: collection.uuid,
      to,
      description: describe([['to', new Map(Object.entries(to))], ...replaced]),
    });
  });
}

export function dropIndexes(server: FakeServer, request: Request): void {
  const collection = mustBeThere(server, request);
  const { index } = request.command;
  const wanted = index === '*' ? [...collection.indexes.keys()] : [index].flat().map(String);
  if (index !== '*' && server.builds.abortNamed(collection, wanted)) return;
  server.builds.refuseWhileBuilding(collection, index === '*' ? Codes.BackgroundOperationInProgress : undefined);
  for (const name of wanted)
    if (!collection.indexes.has(name)) throw serverError(Codes.IndexNotFound, `index not found with name [${name}]`);
  const dropped = wanted.map((name) => collection.indexes.get(name));
  const left = new Map([...collection.indexes].filter(([name]) => !wanted.includes(name)));
  if (dropped.length === 0) return;
  server.state.change((tx) =>
    tx.did(changeIndexes(collection, left), {
      operationType: 'dropIndexes',
      ns: { db: collection.db, coll: collection.name },
      uuid: collection.uuid,
      description: describe([['indexes', dropped]]),
    }),
  );
}

export function mustBeThere(server: FakeServer, request: Request): FakeCollection {
  const collection = guarded(server, request);
  if (collection === undefined) throw serverError(Codes.NamespaceNotFound, `ns does not exist: ${request.target}`);
  return collection;
}
