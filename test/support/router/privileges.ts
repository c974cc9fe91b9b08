/** Checks what a logged-in user may do: shards cannot, since everything reaches them from a member of the cluster. */
import type { Command } from './command.js';
import { fieldOf, isTrue, itemsOf, textOf } from './raw-values.js';
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

/** Errors: Unauthorized (13) where a privilege is missing; the text names the command, not its documents. */
export function requirePrivileges(name: string, command: Command, privileges: readonly Privilege[]): void {
  for (const { action, on } of needsOf(name, command)) {
    const target = targetOf(command, on);
    if (privileges.some(({ resource, actions }) => covers(resource, target) && permits(actions, action))) continue;
    // Whoever may list names sees those that he may read.
    if (action === 'listCollections' && command.flag('authorizedCollections')) continue;
    throw refused('missingPrivilege', { db: command.db, command: `{ ${name}: … } (${action})` });
  }
}

function needsOf(name: string, command: Command): readonly Need[] {
  if (name !== 'aggregate') return NEEDS[name] ?? [];
  const [first] = command.documents('pipeline');
  const [stage = ''] = first === undefined ? [] : [stageName(first)];
  return STAGE_NEEDS[stage] ?? NEEDS['aggregate'] ?? [];
}

function stageName(stage: Buffer): string {
  return stage.toString('utf8', 5, stage.indexOf(0, 5));
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

/** Empty names of a privilege's resource mean any, but for collections of the server's own. */
function covers(resource: Resource, target: Resource): boolean {
  if (resource.kind === 'any') return true;
  if (resource.kind === 'cluster' || target.kind !== 'namespace') return resource.kind === target.kind;
  if (resource.db !== '' && resource.db !== target.db) return false;
  if (resource.collection !== '') return resource.collection === target.collection;
  return !target.collection.startsWith('system.');
}
