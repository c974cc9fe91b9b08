import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilterSpec } from '../cluster/document-filter.js';
import { Code, codeOf, safeText } from '../cluster/errors.js';
import { isBlocked } from '../cluster/write-block.js';
import { checkData, checkDiskSpace, checkOplog } from './data.js';
import { checkDeployments } from './deployments.js';
import { blocker, type Finding, warning } from './finding.js';
import { checkNamedData, type NaturalOrderNames } from './named-data.js';
import { checkOptionSupport } from './option-support.js';
import { checkPrivileges } from './privileges.js';

/** Which of the start options the checks depend on. */
export interface PreflightOptions {
  readonly blocksDestination: boolean;
  readonly skipDiskSpaceCheck: boolean;
  readonly buildIndexes: string;
  readonly copyInNaturalOrder: NaturalOrderNames;
  readonly documentFilter: DocumentFilterSpec | null;
}

/**
 * Everything that would stop or endanger a migration, blockers first. Changes nothing. What cannot be read for lack of
 * a privilege is left out: the privilege is a finding of its own.
 */
export async function preflight(
  source: Cluster,
  destination: Cluster,
  options: PreflightOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const deployments = await checkDeployments(source, destination, signal);
  // The other checks need replica sets of known versions.
  if (deployments.some((finding) => finding.severity === 'blocker')) return sorted(deployments);
  const findings = [
    ...deployments,
    ...checkOptionSupport(source, options),
    ...(await checkPrivileges(source, destination, options.blocksDestination, signal)),
  ];
  const checks = [
    () => checkData(source, destination, signal),
    () => checkNamedData(source, options, signal),
    () => checkOplog(source, signal),
    () => checkWriteBlock(destination, signal),
    ...(options.skipDiskSpaceCheck ? [] : [() => checkDiskSpace(source, destination, signal)]),
  ];
  for (const check of checks) {
    try {
      findings.push(...(await check()));
    } catch (error) {
      if (codeOf(error) !== Code.Unauthorized) throw error;
      findings.push(skipped(error));
    }
  }
  return sorted(findings);
}

/** A block that is there already is somebody else's: it would not be lifted at the end, whatever canWrite says. */
async function checkWriteBlock(destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  if (!(await isBlocked(destination, signal))) return [];
  return [
    blocker(
      'DestinationWritesBlocked',
      `user writes on ${destination.label} are blocked already`,
      'Find out who blocked them; then run there: db.adminCommand({setUserWriteBlockMode: 1, global: false}).',
    ),
  ];
}

function skipped(error: unknown): Finding {
  return warning(
    'CheckSkipped',
    `a check could not be made: ${safeText(error)}`,
    'Grant the privilege, or see to it by other means.',
  );
}

function sorted(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => (a.severity === b.severity ? 0 : a.severity === 'blocker' ? -1 : 1));
}
