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
    ...missing(source, onSource, [...needsOfTopology(source), ...needsOf('source', options)]),
    ...missing(destination, onDestination, [...needsOfTopology(destination), ...needsOf('destination', options)]),
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

/** Actions that are needed, and the option for which, if not for every migration. */
interface Need {
  readonly option: string | undefined;
  readonly onCluster: readonly string[];
  readonly onData: readonly string[];
}

/** A mongos has neither a set's configuration nor its parameters. */
function needsOfTopology({ isSharded }: Cluster): Need[] {
  return isSharded ? [] : [{ option: undefined, onCluster: ON_SET, onData: [] }];
}

function needsOf(role: 'source' | 'destination', options: PrivilegeOptions): Need[] {
  const { blocksDestination, blocksSource, reversible, verifies } = options;
  const asSource = [
    { option: undefined, onCluster: ON_CLUSTER, onData: SOURCE_DATA },
    ...(blocksSource ? [{ option: BLOCKING_OPTION, onCluster: ['setUserWriteBlockMode'], onData: [] }] : []),
  ];
  const asDestination = [
    { option: undefined, onCluster: ON_CLUSTER, onData: DESTINATION_DATA },
    ...(blocksDestination ? [{ option: BLOCKING_OPTION, onCluster: BLOCKING, onData: [] }] : []),
    ...(verifies ? [{ option: 'verification', onCluster: [], onData: ['changeStream'] }] : []),
  ];
  const [own, other] = role === 'source' ? [asSource, asDestination] : [asDestination, asSource];
  if (!reversible) return own;
  const onCluster = other.flatMap((need) => need.onCluster);
  return [...own, { option: 'reversible', onCluster, onData: other.flatMap((need) => need.onData) }];
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
  const onCluster = new Set<string>();
  const onData = new Set<string>();
  const parts: string[] = [];
  for (const need of needs) {
    const lacking = (actions: readonly string[], told: Set<string>, where: string, test: ResourceTest): void => {
      const found = actions.filter((action) => !told.has(action) && !has(test, action));
      for (const action of found) told.add(action);
      const what = need.option === undefined ? '' : `for ${need.option} `;
      if (found.length > 0) parts.push(`${what}on ${where}: ${found.join(', ')}`);
    };
    lacking(need.onCluster, onCluster, '{cluster: true}', isCluster);
    lacking(need.onData, onData, '{db: "", collection: ""}', isAllData);
  }
  const findings: Finding[] = [];
  if (parts.length > 0) {
    findings.push(
      blocker(
        'MissingPrivilege',
        `the user of ${cluster.name} lacks actions ${parts.join('; ')}`,
        'Grant them, for example by the roles in docs/security.md.',
      ),
    );
  }
  const misplaced = [...onCluster].filter((action) => BLOCKING.includes(action) && has(isAllData, action));
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
