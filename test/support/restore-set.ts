/** Makes a replica set that test files share as it was when it was new, or finds that it cannot be. */
import { isDeepStrictEqual } from 'node:util';
import type { Document, MongoClient } from 'mongodb';
import type { ReplicaSet } from './replica-set.js';
import { resetClusters } from './stored-migration.js';
import { eventually, within } from './within.js';

/** The name of the connections that restore a set: all others must be gone. */
export const KEEPER_APP = 'mongoferry-set-keeper';

const RESTORE_MS = 30_000;
const PRIMARY_MS = 10_000;
const LEFTOVERS_MS = 15_000;

/** What a test can change of a server besides its databases. */
export interface SetState {
  /** All parameters but the fail points, the featureCompatibilityVersion among them. */
  readonly parameters: Document;
  readonly oplogBytes: unknown;
  readonly members: unknown;
  readonly defaultConcerns: unknown;
  /** Collections of the databases that are never dropped. */
  readonly collections: readonly string[];
}

/** A set that differs from a new one in a way that is not undone here. */
export class SpoiltSetError extends Error {
  override readonly name = 'SpoiltSetError';
}

/** Reads what {@link restoreSet} is to bring about again. */
export async function readSetState(client: MongoClient): Promise<SetState> {
  const admin = client.db('admin');
  const [all, config, concerns, [oplog], collections] = await Promise.all([
    admin.command({ getParameter: '*' }),
    admin.command({ replSetGetConfig: 1 }),
    admin.command({ getDefaultRWConcern: 1 }),
    client.db('local').listCollections({ name: 'oplog.rs' }, { nameOnly: false }).toArray(),
    keptCollections(client),
  ]);
  const isKept = ([name]: [string, unknown]) => !name.startsWith('failpoint.') && !REPLY_FIELDS.has(name);
  return {
    parameters: Object.fromEntries(Object.entries(all).filter(isKept)),
    oplogBytes: (oplog as Document | undefined)?.['options']?.size,
    members: config['config'].members,
    defaultConcerns: [concerns['defaultReadConcern'], concerns['defaultWriteConcern']],
    collections,
  };
}

const REPLY_FIELDS = new Set(['ok', '$clusterTime', 'operationTime']);

/**
 * Restores a set whose borrower has left: lets a paused server go on, ends what still runs, and undoes fail points, the
 * write block, users, roles and databases. Errors: {@link SpoiltSetError}, and whatever keeps it from that.
 */
export async function restoreSet(set: ReplicaSet, client: MongoClient, asNew: SetState): Promise<void> {
  const restore = async () => {
    set.continueProcess();
    await set.waitForPrimary(PRIMARY_MS);
    await endFailPoints(client);
    await endOperations(client);
    await dropUsers(client);
    await resetClusters(client);
    await dropKept(client, asNew.collections);
    await restoreParameters(client, asNew.parameters);
    const now = await readSetState(client);
    for (const [key, value] of Object.entries(asNew)) {
      const other = now[key as keyof SetState];
      if (!isDeepStrictEqual(other, value)) throw new SpoiltSetError(`other ${key}: ${differences(value, other)}`);
    }
  };
  await within(RESTORE_MS, restore(), `the restoring of ${set.name}`);
}

function differences(before: unknown, after: unknown): string {
  if (Array.isArray(before) && Array.isArray(after))
    return [...before, ...after].filter((each) => !before.includes(each) || !after.includes(each)).join(', ');
  const [from, to] = [before, after] as [Document, Document];
  const names = Object.keys({ ...from, ...to }).filter((name) => !isDeepStrictEqual(from?.[name], to?.[name]));
  return names.join(', ');
}

async function endFailPoints(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  const all = await admin.command({ getParameter: '*' });
  for (const [name, value] of Object.entries(all)) {
    if (name.startsWith('failpoint.') && value.mode !== 0)
      await admin.command({ configureFailPoint: name.slice('failpoint.'.length), mode: 'off' });
  }
}

/** Ends what clients left running, e.g. commands of a killed process, and waits until it has ended. */
async function endOperations(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  await admin.command({ killAllSessions: [] });
  const pipeline = [
    { $currentOp: { allUsers: true, idleConnections: false, idleSessions: true, idleCursors: true } },
    { $match: { client: { $exists: true }, appName: { $ne: KEEPER_APP } } },
  ];
  const none = async () => {
    const operations = await admin.aggregate(pipeline).toArray();
    for (const { opid } of operations) if (opid !== undefined) await admin.command({ killOp: 1, op: opid });
    // A getMore that waits for an event sees at the next one that it is killed.
    if (operations.length > 0) await admin.command({ appendOplogNote: 1, data: { for: 'what waits for an event' } });
    return operations.length === 0;
  };
  await eventually(LEFTOVERS_MS, none, 'the end of what clients left running');
}

async function dropUsers(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  const names = await Promise.all(
    ['system.users', 'system.roles'].map((name) => admin.collection(name).distinct('db')),
  );
  for (const name of new Set(names.flat() as string[])) {
    await client.db(name).command({ dropAllUsersFromDatabase: 1 });
    await client.db(name).command({ dropAllRolesFromDatabase: 1 });
  }
}

async function restoreParameters(client: MongoClient, asNew: Document): Promise<void> {
  const { parameters: now } = await readSetState(client);
  for (const [name, value] of Object.entries(asNew)) {
    if (!isDeepStrictEqual(now[name], value)) await client.db('admin').command({ setParameter: 1, [name]: value });
  }
}

/** Which the server makes by itself at their first use. */
const BY_SERVER =
  /\.system\.|^local\.replset\.|^config\.(transactions|image_collection|external_validation_keys|settings|tenant\w+)$/;

async function keptCollections(client: MongoClient): Promise<string[]> {
  const names: string[] = [];
  for (const db of ['admin', 'config', 'local']) {
    const found = await client.db(db).listCollections({}, { nameOnly: true }).toArray();
    names.push(...found.map(({ name }) => `${db}.${name}`));
  }
  return names.filter((name) => !BY_SERVER.test(name)).sort();
}

async function dropKept(client: MongoClient, asNew: readonly string[]): Promise<void> {
  for (const name of await keptCollections(client)) {
    if (asNew.includes(name)) continue;
    const [db = '', ...rest] = name.split('.');
    await client.db(db).dropCollection(rest.join('.'));
  }
}
