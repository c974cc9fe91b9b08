/** The commands that the router double knows, each with what carries it out. */
import { aggregate } from './aggregate.js';
import { getShardVersion, mergeChunks, moveChunk, moveRange, split } from './chunks.js';
import { convertToCapped } from './convert-to-capped.js';
import {
  collMod,
  create,
  createIndexes,
  drop,
  dropDatabase,
  dropIndexes,
  enableSharding,
  endReshard,
  movePrimary,
  refineCollectionShardKey,
  renameCollection,
  reshardCollection,
  setAllowMigrations,
  shardCollection,
} from './ddl.js';
import { configureFailPoint } from './fail-command.js';
import { findAndModify } from './find-and-modify.js';
import { listCollections, listDatabases, listIndexes } from './lists.js';
import { connectionStatus, logout, relayLogin } from './logins.js';
import {
  abortTransaction,
  appendOplogNote,
  commitTransaction,
  currentOp,
  killOp,
  killSessions,
  startSession,
} from './operations.js';
import { count, distinct, find, getMore, killCursors } from './reads.js';
import type { Handler } from './request.js';
import {
  buildInfo,
  explain,
  getCmdLineOpts,
  getLog,
  getParameter,
  hello,
  hostInfo,
  isdbgrid,
  nothing,
  replSetGetStatus,
  serverStatus,
  whatsMyUri,
} from './server-info.js';
import {
  addShard,
  flushRouterConfig,
  getShardMap,
  listShards,
  passToConfig,
  passWriteToConfig,
  RENAMED_COMMANDS,
  removeShard,
  setFeatureCompatibilityVersion,
} from './sharding-admin.js';
import { collStats, dataSize, dbStats, validate } from './statistics.js';
import { write } from './writes.js';

/** Commands about users and roles that change something. */
const USER_WRITES = [
  'createUser',
  'updateUser',
  'dropUser',
  'dropAllUsersFromDatabase',
  'grantRolesToUser',
  'revokeRolesFromUser',
  'createRole',
  'updateRole',
  'dropRole',
  'dropAllRolesFromDatabase',
  'grantPrivilegesToRole',
  'revokePrivilegesFromRole',
  'grantRolesToRole',
  'revokeRolesFromRole',
];

const HANDLERS: Readonly<Record<string, Handler>> = {
  ...RENAMED_COMMANDS,
  ...Object.fromEntries(USER_WRITES.map((name) => [name, passWriteToConfig])),
  abortReshardCollection: endReshard,
  abortTransaction,
  addShard,
  aggregate,
  appendOplogNote,
  buildInfo,
  collMod,
  collStats,
  commitReshardCollection: endReshard,
  commitTransaction,
  configureFailPoint,
  connectionStatus,
  convertToCapped,
  count,
  create,
  createIndexes,
  currentOp,
  dataSize,
  dbStats,
  delete: write,
  distinct,
  drop,
  dropDatabase,
  dropIndexes,
  enableSharding,
  endSessions: nothing,
  explain,
  find,
  findAndModify,
  flushRouterConfig,
  getCmdLineOpts,
  getDefaultRWConcern: passToConfig,
  getLog,
  getMore,
  getParameter,
  getShardMap,
  getShardVersion,
  hello,
  hostInfo,
  insert: write,
  isMaster: hello,
  isdbgrid,
  killAllSessions: killSessions,
  killCursors,
  killOp,
  killSessions,
  listCollections,
  listDatabases,
  listIndexes,
  listShards,
  logout,
  mergeChunks,
  moveChunk,
  movePrimary,
  moveRange,
  ping: nothing,
  refineCollectionShardKey,
  refreshSessions: nothing,
  removeShard,
  renameCollection,
  replSetGetStatus,
  reshardCollection,
  rolesInfo: passToConfig,
  saslContinue: relayLogin,
  saslStart: relayLogin,
  serverStatus,
  setAllowMigrations,
  setDefaultRWConcern: passWriteToConfig,
  setFeatureCompatibilityVersion,
  shardCollection,
  split,
  startSession,
  update: write,
  usersInfo: passToConfig,
  validate,
  whatsmyuri: whatsMyUri,
};

/** What needs no log-in. */
export const WITHOUT_LOGIN: ReadonlySet<string> = new Set([
  'hello',
  'isMaster',
  'ping',
  'saslStart',
  'saslContinue',
  'buildInfo',
  'connectionStatus',
  'logout',
  'whatsmyuri',
  'endSessions',
]);

/** Servers take some commands under a second name, and some in any case. */
const OTHER_NAMES: Readonly<Record<string, string>> = { deleteIndexes: 'dropIndexes' };

const byLowerCase = new Map(Object.keys(HANDLERS).map((name) => [name.toLowerCase(), name]));

/** A command by its usual name; undefined for one that the router does not know. */
export function commandOf(name: string): { readonly name: string; readonly handler: Handler } | undefined {
  const usual = OTHER_NAMES[name] ?? byLowerCase.get(name.toLowerCase());
  const handler = usual === undefined ? undefined : HANDLERS[usual];
  return usual === undefined || handler === undefined ? undefined : { name: usual, handler };
}
