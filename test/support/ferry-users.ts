/** Makes users with the least privileges that docs/security.md names. */
import type { Document, MongoClient } from 'mongodb';
import { mongoUri } from './mongo-uri.js';
import type { ReplicaSet } from './replica-set.js';
import type { ShardedCluster } from './sharded-cluster.js';

/** A privilege as `createRole` takes it. */
export interface Privilege {
  readonly resource: Document;
  readonly actions: readonly string[];
}

const CLUSTER = { cluster: true };
const ALL_DATA = { db: '', collection: '' };
const ON_CLUSTER = ['appendOplogNote', 'listDatabases', 'serverStatus', 'replSetGetConfig', 'getParameter'];

/** The role of docs/security.md for the source's user, without what is optional there. */
export const SOURCE_PRIVILEGES: readonly Privilege[] = [
  { resource: CLUSTER, actions: ON_CLUSTER },
  { resource: ALL_DATA, actions: ['find', 'changeStream', 'listCollections', 'listIndexes', 'collStats'] },
];

/** The role of docs/security.md for the destination's user, without what is optional there. */
export const DESTINATION_PRIVILEGES: readonly Privilege[] = [
  { resource: CLUSTER, actions: [...ON_CLUSTER, 'setUserWriteBlockMode', 'bypassWriteBlockingMode'] },
  {
    resource: ALL_DATA,
    actions: [
      'find',
      'insert',
      'update',
      'remove',
      'bypassDocumentValidation',
      'createCollection',
      'createIndex',
      'dropCollection',
      'dropDatabase',
      'dropIndex',
      'collMod',
      'listCollections',
      'listIndexes',
      'renameCollectionSameDB',
      'changeStream',
      'convertToCapped',
    ],
  },
];

const CONFIG = { resource: { db: 'config', collection: '' }, actions: ['find'] };
const SETTINGS = { resource: { db: 'config', collection: 'settings' }, actions: ['update'] };
const ofMongos = (privileges: readonly Privilege[]): Privilege[] => [
  ...withoutActions(privileges, 'replSetGetConfig', 'getParameter'),
  CONFIG,
  SETTINGS,
];

/** The source's role of docs/security.md where the source is sharded. */
export const SHARDED_SOURCE_PRIVILEGES: readonly Privilege[] = ofMongos(SOURCE_PRIVILEGES);

/** The destination's role of docs/security.md where the destination is sharded. */
export const SHARDED_DESTINATION_PRIVILEGES: readonly Privilege[] = [
  ...ofMongos(DESTINATION_PRIVILEGES),
  { resource: ALL_DATA, actions: ['enableSharding', 'splitChunk', 'moveChunk'] },
];

/** The role of docs/security.md for `mongoferry verify`, on both clusters. */
export const VERIFY_PRIVILEGES: readonly Privilege[] = [
  { resource: CLUSTER, actions: ['appendOplogNote', 'listDatabases'] },
  { resource: ALL_DATA, actions: ['find', 'changeStream', 'listCollections', 'listIndexes', 'collStats'] },
];

/** What docs/security.md asks of both users for a migration that may be reversed. */
export const REVERSIBLE_PRIVILEGES: readonly Privilege[] = [...SOURCE_PRIVILEGES, ...DESTINATION_PRIVILEGES];

/** The privileges without some actions. */
export function withoutActions(privileges: readonly Privilege[], ...actions: readonly string[]): Privilege[] {
  return privileges
    .map((each) => ({ ...each, actions: each.actions.filter((name) => !actions.includes(name)) }))
    .filter((each) => each.actions.length > 0);
}

/** A user to be made: what it may do, by itself and by roles. */
interface NewUser {
  readonly name: string;
  readonly privileges?: readonly Privilege[];
  readonly roles?: readonly string[];
}

/** Makes a user with exactly these privileges; returns its connection string. `root`: a client that may do so. */
export async function createUser(set: ReplicaSet, root: MongoClient, user: NewUser): Promise<string> {
  const credentials = await makeUser(root, user);
  return mongoUri(set.hosts, { replicaSet: set.name }, { credentials, tls: undefined });
}

/** As {@link createUser}, of a sharded cluster: the connection string is of its first router. */
export async function createRouterUser(cluster: ShardedCluster, root: MongoClient, user: NewUser): Promise<string> {
  const credentials = await makeUser(root, user);
  return mongoUri([cluster.routers[0]?.host ?? ''], {}, { credentials, tls: undefined });
}

async function makeUser(root: MongoClient, user: NewUser): Promise<{ username: string; password: string }> {
  const admin = root.db('admin');
  const { name, privileges = [], roles = [] } = user;
  const password = `${name}-secret`;
  await admin.command({ createRole: `${name}Role`, privileges, roles: [] });
  await admin.command({ createUser: name, pwd: password, roles: [`${name}Role`, ...roles] });
  return { username: name, password };
}
