/** Checks what a logged-in user may do: shards cannot, since everything reaches them from a member of the cluster. */
import type { Command } from './command.js';
import { BSON_TYPE, fieldOf, firstName, isTrue, itemsOf, type RawValue, textOf } from './raw-values.js';
import { refused } from './refusals.js';

/** What a privilege is about. */
export type Resource =
  | { readonly kind: 'cluster' }
  | { readonly kind: 'any' }
  | { readonly kind: 'namespace'; readonly db: string; readonly collection: string };

/** Actions permitted on a resource. */
export interface Privilege {
  readonly resource: Resource;
  readonly actions: ReadonlySet<string>;
}

/** Reads an entry of `authenticatedUserPrivileges`. */
export function privilegesOf(raw: Buffer): Privilege {
  const resource = fieldOf(raw, 'resource')?.bytes ?? Buffer.alloc(5);
  const actions = new Set(itemsOf(fieldOf(raw, 'actions')).map((action) => textOf(action) ?? ''));
  return { resource: resourceOf(resource), actions };
}

function resourceOf(raw: Buffer): Resource {
  if (isTrue(fieldOf(raw, 'anyResource'))) return { kind: 'any' };
  if (isTrue(fieldOf(raw, 'cluster'))) return { kind: 'cluster' };
  return {
    kind: 'namespace',
    db: textOf(fieldOf(raw, 'db')) ?? '',
    collection: textOf(fieldOf(raw, 'collection')) ?? '',
  };
}

/** What an action is needed on: the command's own collection or database, what its value names, the cluster, or a fixed place. */
type Place = 'collection' | 'database' | 'cluster' | 'namespace' | `config.${string}`;

/** An action, and what it is needed on. */
interface Need {
  readonly action: string;
  readonly on: Place;
}

const needs = (on: Place, ...actions: string[]): readonly Need[] => actions.map((action) => ({ action, on }));

/**
 * The privileges that commands need; those that are not listed need a log-in only. `namespace`: of the command's value,
 * a full name or a database's. Source: MongoDB's manual, "Privilege Actions", and the commands' own pages.
 */
const NEEDS: Readonly<Record<string, readonly Need[]>> = {
  find: needs('collection', 'find'),
  aggregate: needs('collection', 'find'),
  count: needs('collection', 'find'),
  distinct: needs('collection', 'find'),
  insert: needs('collection', 'insert'),
  update: needs('collection', 'update'),
  delete: needs('collection', 'remove'),
  findAndModify: needs('collection', 'find', 'update'),
  create: needs('collection', 'createCollection'),
  drop: needs('collection', 'dropCollection'),
  dropDatabase: needs('database', 'dropDatabase'),
  createIndexes: needs('collection', 'createIndex'),
  dropIndexes: needs('collection', 'dropIndex'),
  collMod: needs('collection', 'collMod'),
  convertToCapped: needs('collection', 'convertToCapped'),
  listCollections: needs('database', 'listCollections'),
  listIndexes: needs('collection', 'listIndexes'),
  collStats: needs('collection', 'collStats'),
  dbStats: needs('database', 'dbStats'),
  validate: needs('collection', 'validate'),
  enableSharding: needs('namespace', 'enableSharding'),
  shardCollection: needs('namespace', 'enableSharding'),
  refineCollectionShardKey: needs('namespace', 'refineCollectionShardKey'),
  reshardCollection: needs('namespace', 'reshardCollection'),
  split: needs('namespace', 'splitChunk'),
  moveChunk: needs('namespace', 'moveChunk'),
  moveRange: needs('namespace', 'moveChunk'),
  mergeChunks: needs('namespace', 'splitChunk'),
  movePrimary: needs('namespace', 'moveChunk'),
  updateZoneKeyRange: needs('namespace', 'enableSharding'),
  balancerCollectionStatus: needs('namespace', 'enableSharding'),
  configureCollectionBalancing: needs('namespace', 'enableSharding'),
  addShardToZone: needs('config.shards', 'update'),
  removeShardFromZone: needs('config.shards', 'update'),
  balancerStart: needs('config.settings', 'update'),
  balancerStop: needs('config.settings', 'update'),
  balancerStatus: needs('config.settings', 'find'),
  listShards: needs('cluster', 'listShards'),
  getShardMap: needs('cluster', 'getShardMap'),
  addShard: needs('cluster', 'addShard'),
  removeShard: needs('cluster', 'removeShard'),
  flushRouterConfig: needs('cluster', 'flushRouterConfig'),
  setUserWriteBlockMode: needs('cluster', 'setUserWriteBlockMode'),
  setFeatureCompatibilityVersion: needs('cluster', 'setFeatureCompatibilityVersion'),
  appendOplogNote: needs('cluster', 'appendOplogNote'),
  serverStatus: needs('cluster', 'serverStatus'),
  getParameter: needs('cluster', 'getParameter'),
  killOp: needs('cluster', 'killop'),
  currentOp: needs('cluster', 'inprog'),
  replSetGetStatus: needs('cluster', 'replSetGetStatus'),
};

/** Stages that need another action than `find`. */
const STAGE_NEEDS: Readonly<Record<string, readonly Need[]>> = {
  $changeStream: needs('collection', 'changeStream', 'find'),
  $collStats: needs('collection', 'collStats'),
  $indexStats: needs('collection', 'indexStats'),
  $currentOp: needs('cluster', 'inprog'),
  $documents: [],
  $listLocalSessions: [],
};

/** An action on a resource that a command needs. */
interface Demand {
  readonly action: string;
  readonly target: Resource;
}

/** Errors: Unauthorized (13) where a privilege is missing; the text names the command, not its documents. */
export function requirePrivileges(name: string, command: Command, privileges: readonly Privilege[]): void {
  for (const { action, target } of demandsOf(name, command)) {
    if (privileges.some(({ resource, actions }) => covers(resource, target) && permits(actions, action))) continue;
    // Whoever may list names sees those that he may read.
    if (action === 'listCollections' && command.flag('authorizedCollections')) continue;
    throw refused('missingPrivilege', { db: command.db, command: `{ ${name}: … } (${action})` });
  }
}

/** Whether a user sees a database in a list: he may list all of them, or do anything at all there. */
export function maySeeDatabase(privileges: readonly Privilege[], db: string): boolean {
  return privileges.some(({ resource, actions }) => {
    if (resource.kind === 'cluster') return permits(actions, 'listDatabases');
    return resource.kind === 'any' ? permits(actions, 'find') : resource.db === db || isAnyNormal(resource, actions);
  });
}

/** All databases' ordinary collections; every user may do something with some of the server's own. */
function isAnyNormal(resource: Resource, actions: ReadonlySet<string>): boolean {
  return resource.kind === 'namespace' && resource.db === '' && resource.collection === '' && permits(actions, 'find');
}

function demandsOf(name: string, command: Command): Demand[] {
  const own = (needed: readonly Need[]) => needed.map(({ action, on }) => ({ action, target: targetOf(command, on) }));
  if (name !== 'aggregate') return own(NEEDS[name] ?? []);
  const pipeline = command.documents('pipeline');
  const [first] = pipeline;
  if (first !== undefined && isClusterStream(first)) {
    return ['changeStream', 'find'].map((action) => ({ action, target: ANY_NORMAL }));
  }
  const needed = (first && STAGE_NEEDS[firstName(first)]) ?? NEEDS['aggregate'] ?? [];
  return [...own(needed), ...pipeline.flatMap((stage) => demandsOfStage(command.db, stage))];
}

/** All databases' collections but the server's own: only a privilege on just that covers it. */
const ANY_NORMAL: Resource = { kind: 'namespace', db: '', collection: '' };

function isClusterStream(stage: Buffer): boolean {
  const spec = fieldOf(stage, '$changeStream');
  return spec !== undefined && isTrue(fieldOf(spec.bytes, 'allChangesForCluster'));
}

/** What a stage that reads or writes another collection needs there. */
const ELSEWHERE: Readonly<Record<string, { readonly actions: readonly string[]; readonly field: string }>> = {
  $lookup: { actions: ['find'], field: 'from' },
  $graphLookup: { actions: ['find'], field: 'from' },
  $unionWith: { actions: ['find'], field: 'coll' },
  $out: { actions: ['insert', 'remove'], field: 'coll' },
  $merge: { actions: ['insert', 'update'], field: 'into' },
};

function demandsOfStage(db: string, stage: Buffer): Demand[] {
  const name = firstName(stage);
  const elsewhere = ELSEWHERE[name];
  const value = fieldOf(stage, name);
  if (elsewhere === undefined || value === undefined) return [];
  const target = namedBy(db, value, elsewhere.field);
  return target === undefined ? [] : elsewhere.actions.map((action) => ({ action, target }));
}

/** A stage names a collection by its value, by a field of it, or by `{db, coll}` in either place. */
function namedBy(db: string, value: RawValue, field: string): Resource | undefined {
  const text = textOf(value);
  if (text !== undefined) return { kind: 'namespace', db, collection: text };
  if (value.type !== BSON_TYPE.document) return undefined;
  const [inner, coll] = [fieldOf(value.bytes, field), textOf(fieldOf(value.bytes, 'coll'))];
  const otherDb = textOf(fieldOf(value.bytes, 'db')) ?? db;
  if (coll !== undefined) return { kind: 'namespace', db: otherDb, collection: coll };
  return inner === undefined || field === 'coll' ? undefined : namedBy(db, inner, field);
}

function targetOf(command: Command, on: Place): Resource {
  if (on === 'cluster') return { kind: 'cluster' };
  if (on.startsWith('config.')) return { kind: 'namespace', db: 'config', collection: on.slice('config.'.length) };
  const name = textOf(command.target) ?? '';
  if (on === 'database') return { kind: 'namespace', db: command.db, collection: '' };
  if (on === 'collection') return { kind: 'namespace', db: command.db, collection: name };
  const dot = name.indexOf('.');
  if (dot < 0) return { kind: 'namespace', db: name, collection: '' };
  return { kind: 'namespace', db: name.slice(0, dot), collection: name.slice(dot + 1) };
}

function permits(actions: ReadonlySet<string>, action: string): boolean {
  return actions.has(action) || actions.has('anyAction');
}

/** Databases that no privilege on all of them covers. Source: the server's AuthorizationSession, "normal" resources. */
const SERVERS_OWN = new Set(['config', 'local']);

/** Empty names of a privilege's resource mean any, but for collections and databases of the server's own. */
function covers(resource: Resource, target: Resource): boolean {
  if (resource.kind === 'any') return true;
  if (resource.kind === 'cluster' || target.kind !== 'namespace') return resource.kind === target.kind;
  if (resource.db === '' && SERVERS_OWN.has(target.db)) return false;
  if (resource.db !== '' && resource.db !== target.db) return false;
  if (resource.collection !== '') return resource.collection === target.collection;
  return !target.collection.startsWith('system.');
}
