/** Checks that the users of both connection strings have the privileges that a migration needs. */
import type { Cluster } from '../cluster/cluster.js';
import { blocker, type Finding, warning } from './finding.js';

interface Privilege {
  readonly resource: {
    readonly db?: string;
    readonly collection?: string;
    readonly cluster?: boolean;
    readonly anyResource?: boolean;
  };
  readonly actions: readonly string[];
}

const ON_CLUSTER = ['appendOplogNote', 'listDatabases', 'serverStatus'];
const ON_SET = ['replSetGetConfig', 'getParameter'];
const SOURCE_DATA = ['find', 'changeStream', 'listCollections', 'listIndexes', 'collStats'];
const DESTINATION_DATA = [
  'find',
  'insert',
  'update',
  'remove',
  'bypassDocumentValidation',
  'createCollection',
  'convertToCapped',
  'createIndex',
  'dropCollection',
  'dropIndex',
  'collMod',
  'listCollections',
  'listIndexes',
  'renameCollectionSameDB',
];
/** Not needed but where a database of the source is dropped: its name stays taken on the destination without it. */
const DROP_DATABASE = 'dropDatabase';
/** Of a sharded destination: databases and collections are given shards, and chunks cut and moved while they are empty. */
const SHARDING = ['enableSharding', 'splitChunk', 'moveChunk'];
const BLOCKING = ['setUserWriteBlockMode', 'bypassWriteBlockingMode'];

/**
 * Whether the users may do what the migration needs; nothing is found where access control is off. Says exactly which
 * actions are missing. Source: docs/security.md; MongoDB manual, "Privilege Actions".
 */
export async function checkPrivileges(
  source: Cluster,
  destination: Cluster,
  options: PrivilegeOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const [onSource, onDestination] = [await granted(source, signal), await granted(destination, signal)];
  const dropping = options.reversible ? [onSource, onDestination] : [onDestination];
  return [
    ...missing(source, onSource, needsOf('source', source, options)),
    ...missing(destination, onDestination, needsOf('destination', destination, options)),
    ...(options.sharesDestination ? [] : dropping.flatMap(checkDropping)),
  ];
}

function checkDropping({ name, has }: Granted): Finding[] {
  if (has(isAllData, DROP_DATABASE)) return [];
  return [
    warning(
      'DropDatabaseNotGranted',
      `the user of ${name} lacks the action ${DROP_DATABASE} on {db: "", collection: ""}: when the source drops a database, an empty database of that name stays on the destination, which then refuses a name that differs only in case`,
      'Grant it if databases may be dropped during the migration; only empty ones are dropped.',
    ),
  ];
}

const BLOCKING_OPTION = 'enableUserWriteBlocking';

type ResourceTest = (resource: Privilege['resource']) => boolean;
const isCluster: ResourceTest = ({ cluster }) => cluster === true;
const isAllData: ResourceTest = ({ db, collection }) => db === '' && collection === '';

/** A resource to be named, and how to recognise it. */
interface Place {
  readonly text: string;
  readonly test: ResourceTest;
}

const CLUSTER: Place = { text: '{cluster: true}', test: isCluster };
const DATA: Place = { text: '{db: "", collection: ""}', test: isAllData };
/** `{db: "", collection: ""}` does not cover it. Source: MongoDB manual, "Resource Document"; the server's own rule. */
const CONFIG: Place = {
  text: '{db: "config", collection: ""}',
  test: ({ db, collection }) => db === 'config' && collection === '',
};
const SETTINGS: Place = {
  text: '{db: "config", collection: "settings"}',
  test: ({ db, collection }) => db === 'config' && (collection === '' || collection === 'settings'),
};

/** Actions that are needed, and the option for which, if not for every migration. */
interface Need {
  readonly option?: string;
  readonly on: Place;
  readonly actions: readonly string[];
}

type Role = 'source' | 'destination';

function needsOf(role: Role, cluster: Cluster, options: PrivilegeOptions): Need[] {
  const [own, other] = role === 'source' ? [asSource, asDestination] : [asDestination, asSource];
  const needs = [...own(options, cluster), ...ofTopology(cluster, role, options)];
  if (!options.reversible) return needs;
  return [...needs, ...other(options, cluster).map((need) => ({ ...need, option: 'reversible' }))];
}

/** A mongos has neither a set's configuration nor its parameters, and balancers rest during a migration. */
function ofTopology({ isSharded }: Cluster, role: Role, { sharesDestination }: PrivilegeOptions): Need[] {
  if (!isSharded) return [{ on: CLUSTER, actions: ON_SET }];
  const balancer: Need = { on: SETTINGS, actions: ['update'] };
  return [{ on: CONFIG, actions: ['find'] }, ...(role === 'destination' && sharesDestination ? [] : [balancer])];
}

function asSource({ blocksSource }: PrivilegeOptions): Need[] {
  const block: Need = { option: BLOCKING_OPTION, on: CLUSTER, actions: ['setUserWriteBlockMode'] };
  return [{ on: CLUSTER, actions: ON_CLUSTER }, { on: DATA, actions: SOURCE_DATA }, ...(blocksSource ? [block] : [])];
}

function asDestination({ blocksDestination, verifies }: PrivilegeOptions, { isSharded }: Cluster): Need[] {
  const block: Need = { option: BLOCKING_OPTION, on: CLUSTER, actions: BLOCKING };
  const follow: Need = { option: 'verification', on: DATA, actions: ['changeStream'] };
  return [
    { on: CLUSTER, actions: ON_CLUSTER },
    { on: DATA, actions: [...DESTINATION_DATA, ...(isSharded ? SHARDING : [])] },
    ...(blocksDestination ? [block] : []),
    ...(verifies ? [follow] : []),
  ];
}

/** The start options that decide which privileges are needed. */
export interface PrivilegeOptions {
  readonly blocksDestination: boolean;
  readonly blocksSource: boolean;
  /** Either cluster may then become the other. */
  readonly reversible: boolean;
  /** The destination's changes are then followed, too. */
  readonly verifies: boolean;
  /** No database is dropped there then. */
  readonly sharesDestination: boolean;
}

/** What a user may do. */
interface Granted {
  /** Of the cluster. */
  readonly name: string;
  /** Whether there is a user at all: without access control none is needed. */
  readonly isControlled: boolean;
  readonly has: (matches: ResourceTest, action: string) => boolean;
}

async function granted(cluster: Cluster, signal: AbortSignal): Promise<Granted> {
  const reply = await cluster.read(
    'reading privileges',
    'admin',
    { connectionStatus: 1, showPrivileges: true },
    signal,
  );
  const auth = reply['authInfo'] as { authenticatedUsers: unknown[]; authenticatedUserPrivileges: Privilege[] };
  const isControlled = auth.authenticatedUsers.length > 0;
  const has = (matches: ResourceTest, action: string): boolean =>
    !isControlled ||
    auth.authenticatedUserPrivileges.some(
      (each) => (each.resource.anyResource === true || matches(each.resource)) && each.actions.includes(action),
    );
  return { name: cluster.name, isControlled, has };
}

function missing(cluster: Cluster, { isControlled, has }: Granted, needs: readonly Need[]): Finding[] {
  if (!isControlled) return [];
  const told = new Map<Place, Set<string>>();
  const parts = new Map<string, string[]>();
  for (const { option, on, actions } of needs) {
    const known = told.get(on) ?? new Set<string>();
    told.set(on, known);
    const found = actions.filter((action) => !known.has(action) && !has(on.test, action));
    for (const action of found) known.add(action);
    const what = option === undefined ? '' : `for ${option} `;
    const where = `${what}on ${on.text}`;
    if (found.length > 0) parts.set(where, [...(parts.get(where) ?? []), ...found]);
  }
  const findings: Finding[] = [];
  if (parts.size > 0) {
    const text = [...parts].map(([where, actions]) => `${where}: ${actions.join(', ')}`).join('; ');
    findings.push(
      blocker(
        'MissingPrivilege',
        `the user of ${cluster.name} lacks actions ${text}`,
        'Grant them, for example by the roles in docs/security.md.',
      ),
    );
  }
  const misplaced = [...(told.get(CLUSTER) ?? [])].filter(
    (action) => BLOCKING.includes(action) && has(isAllData, action),
  );
  if (misplaced.length > 0) {
    findings.push(
      warning(
        'WriteBlockRoleMisplaced',
        `${misplaced.join(', ')} of ${cluster.name}'s user is granted on {db: "", collection: ""}, where it has no effect`,
        'Grant it on the resource {cluster: true}.',
      ),
    );
  }
  return findings;
}
