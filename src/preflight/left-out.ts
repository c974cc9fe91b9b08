/** Reports what the source has and no migration carries: users, roles, system collections, search indexes. */
import type { Doc } from '../bson/bson.js';
import { listDatabaseNames, listNames } from '../catalog/catalog.js';
import { isOfMigrationTools, type Namespace, nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, isTransient } from '../cluster/errors.js';
import { mapLimit } from '../lib/limit.js';
import { listMigrated, type Migrated } from './destination-namespaces.js';
import { type Finding, MAX_NAMED, warning } from './finding.js';

const PARALLEL = 8;
const MAX_IN_TEXT = 5;
/** Users and roles that are looked at: enough to say that there are many. */
const MAX_COUNTED = 1000;

/** Of the server's own collections: views are read from the catalog, and profiles have a finding of their own. */
const TOLD_OTHERWISE = /^system\.(views$|profile$|buckets\.)/;

/** The findings of this file, by name. */
export const NOT_CARRIED = [
  'DatabasesNotMigrated',
  'AdminCollectionsNotMigrated',
  'SystemCollectionsNotMigrated',
  'UsersNotMigrated',
  'SearchIndexesNotMigrated',
] as const;

/**
 * What the source has and no migration carries, as far as this user can see it: so that nobody finds out after the
 * commit. Source: docs/options.md, "What is not migrated".
 */
export async function checkLeftOut(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Finding[]> {
  const migrated = await listMigrated(source, scope, signal);
  return [
    ...(await checkDatabases(source, scope, signal)),
    ...(await checkAdmin(source, scope, signal)),
    ...(await checkSystemCollections(source, migrated, signal)),
    ...(await checkUsers(source, signal)),
    ...(await checkSearchIndexes(source, migrated, signal)),
  ];
}

async function checkDatabases(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Finding[]> {
  const found: string[] = [];
  for (const db of await listDatabaseNames(source, signal))
    if (isOfMigrationTools(db) && (await scope.letsPass(db, signal))) found.push(db);
  if (found.length === 0) return [];
  return [
    warning(
      'DatabasesNotMigrated',
      `databases with names that migration tools reserve are not migrated: ${textOf(found)}`,
      'If a migration tool has left them, nothing is wrong. If they hold your data, rename them.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function checkAdmin(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Finding[]> {
  if (!(await scope.letsPass('admin', signal))) return [];
  const names = (await ifPermitted(() => listNames(source, 'admin', signal))) ?? [];
  const found = names.filter((name) => !name.startsWith('system.')).map((coll) => nsText({ db: 'admin', coll }));
  if (found.length === 0) return [];
  return [
    warning(
      'AdminCollectionsNotMigrated',
      `collections in the database admin are not migrated: ${textOf(found)}`,
      'Move what applications need to another database, or copy it by other means.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function checkSystemCollections(
  source: Cluster,
  { databases }: Migrated,
  signal: AbortSignal,
): Promise<Finding[]> {
  const command = { listCollections: 1, nameOnly: true, filter: { name: /^system\./ } };
  const listed = await mapLimit(
    databases,
    PARALLEL,
    async (db, inner) => {
      const reply = await source.read('looking for system collections', db, command, inner);
      return (reply['cursor'] as { firstBatch: { name: string }[] }).firstBatch.map(({ name }) => ({ db, coll: name }));
    },
    signal,
  );
  const found = listed
    .flat()
    .filter(({ coll }) => !TOLD_OTHERWISE.test(coll))
    .map(nsText);
  if (found.length === 0) return [];
  return [
    warning(
      'SystemCollectionsNotMigrated',
      `system collections, such as stored functions (system.js), are not migrated: ${textOf(found)}`,
      'Create what applications need of them on the destination after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

/** All but the user of the migration itself. */
async function checkUsers(source: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const status = await source.read('reading who this is', 'admin', { connectionStatus: 1 }, signal);
  const { authenticatedUsers } = status['authInfo'] as { authenticatedUsers: { user: string; db: string }[] };
  const us = new Set(authenticatedUsers.map(({ user, db }) => `${db}.${user}`));
  const users = (await accountsOf(source, 'system.users', signal)).filter((name) => !us.has(name));
  const roles = await accountsOf(source, 'system.roles', signal);
  const parts = [
    ...(users.length === 0 ? [] : [`users: ${textOf(users)}`]),
    ...(roles.length === 0 ? [] : [`roles: ${textOf(roles)}`]),
  ];
  if (parts.length === 0) return [];
  return [
    warning(
      'UsersNotMigrated',
      `users and roles are not migrated; the source has ${parts.join('; ')}`,
      'Create those that applications need on the destination before the commit.',
    ),
  ];
}

/** As "database.name"; none where they may not be read. */
async function accountsOf(source: Cluster, coll: string, signal: AbortSignal): Promise<string[]> {
  const command = { find: coll, projection: { _id: 1 }, limit: MAX_COUNTED, singleBatch: true, batchSize: MAX_COUNTED };
  const reply = await ifPermitted(() => source.read('reading users and roles', 'admin', command, signal));
  if (reply === undefined) return [];
  return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch
    .map(({ _id }) => _id)
    .filter((id) => typeof id === 'string');
}

async function checkSearchIndexes(source: Cluster, { entries }: Migrated, signal: AbortSignal): Promise<Finding[]> {
  const [first, ...others] = entries.filter(({ type }) => type === 'collection').map(({ ns }) => ns);
  if (first === undefined) return [];
  const ofFirst = await searchIndexesOf(source, first, signal);
  // A server that does not know of them does not of any.
  if (ofFirst === undefined) return [];
  const ofOthers = await mapLimit(others, PARALLEL, (ns, inner) => searchIndexesOf(source, ns, inner), signal);
  const found = [ofFirst, ...ofOthers].flatMap((each) => each ?? []);
  if (found.length === 0) return [];
  return [
    warning(
      'SearchIndexesNotMigrated',
      `search indexes are not migrated: ${textOf(found)}`,
      'Create them on the destination.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

/** As "database.collection (name)"; undefined where the server cannot tell. */
async function searchIndexesOf(source: Cluster, ns: Namespace, signal: AbortSignal): Promise<string[] | undefined> {
  const command = { aggregate: ns.coll, pipeline: [{ $listSearchIndexes: {} }], cursor: {} };
  try {
    const reply = await source.read('looking for search indexes', ns.db, command, signal);
    return (reply['cursor'] as { firstBatch: Doc[] }).firstBatch.map(({ name }) => `${nsText(ns)} (${String(name)})`);
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || isTransient(error)) throw error;
    return code === Code.NamespaceNotFound || code === Code.CommandNotSupportedOnView ? [] : undefined;
  }
}

async function ifPermitted<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (codeOf(error) !== Code.Unauthorized) throw error;
    return undefined;
  }
}

function textOf(names: readonly string[]): string {
  const more = names.length > MAX_IN_TEXT ? `, and ${names.length - MAX_IN_TEXT} more` : '';
  return `${names.slice(0, MAX_IN_TEXT).join(', ')}${more}`;
}
