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

const SOURCE_CLUSTER = ['appendOplogNote', 'listDatabases', 'serverStatus', 'replSetGetConfig', 'getParameter'];
const SOURCE_DATA = ['find', 'changeStream', 'listCollections', 'listIndexes', 'collStats'];
const DESTINATION_CLUSTER = ['appendOplogNote', 'listDatabases', 'serverStatus', 'replSetGetConfig', 'getParameter'];
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
  const { blocksDestination, blocksSource, reversible, verifies } = options;
  const both = [...new Set([...SOURCE_CLUSTER, ...DESTINATION_CLUSTER, ...BLOCKING])];
  const bothData = [...new Set([...SOURCE_DATA, ...DESTINATION_DATA])];
  if (reversible)
    return [
      ...(await missing(source, both, bothData, signal)),
      ...(await missing(destination, both, bothData, signal)),
    ];
  const onSource = blocksSource ? [...SOURCE_CLUSTER, 'setUserWriteBlockMode'] : SOURCE_CLUSTER;
  const onDestination = blocksDestination ? [...DESTINATION_CLUSTER, ...BLOCKING] : DESTINATION_CLUSTER;
  const onDestinationData = verifies ? [...DESTINATION_DATA, 'changeStream'] : DESTINATION_DATA;
  return [
    ...(await missing(source, onSource, SOURCE_DATA, signal)),
    ...(await missing(destination, onDestination, onDestinationData, signal)),
  ];
}

/** What of the start options decides on the privileges. */
export interface PrivilegeOptions {
  readonly blocksDestination: boolean;
  readonly blocksSource: boolean;
  /** Either cluster may then become the other. */
  readonly reversible: boolean;
  /** The destination's changes are then followed, too. */
  readonly verifies: boolean;
}

async function missing(
  cluster: Cluster,
  clusterActions: readonly string[],
  dataActions: readonly string[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const reply = await cluster.read(
    'reading privileges',
    'admin',
    { connectionStatus: 1, showPrivileges: true },
    signal,
  );
  const auth = reply['authInfo'] as { authenticatedUsers: unknown[]; authenticatedUserPrivileges: Privilege[] };
  if (auth.authenticatedUsers.length === 0) return [];
  const has = (matches: (resource: Privilege['resource']) => boolean, action: string): boolean =>
    auth.authenticatedUserPrivileges.some(
      (each) => (each.resource.anyResource === true || matches(each.resource)) && each.actions.includes(action),
    );
  const onCluster = clusterActions.filter((action) => !has((resource) => resource.cluster === true, action));
  const onData = dataActions.filter(
    (action) => !has((resource) => resource.db === '' && resource.collection === '', action),
  );
  const findings: Finding[] = [];
  if (onCluster.length + onData.length > 0) {
    const parts = [
      ...(onCluster.length > 0 ? [`on {cluster: true}: ${onCluster.join(', ')}`] : []),
      ...(onData.length > 0 ? [`on {db: "", collection: ""}: ${onData.join(', ')}`] : []),
    ];
    findings.push(
      blocker(
        'MissingPrivilege',
        `the user of ${cluster.name} lacks actions ${parts.join('; ')}`,
        'Grant them, for example by the roles in docs/security.md.',
      ),
    );
  }
  const misplaced = onCluster.filter(
    (action) =>
      BLOCKING.includes(action) && has((resource) => resource.db === '' && resource.collection === '', action),
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
