/** Runs all checks of a preflight, and puts their findings in order. */
import type { OrderedDoc } from '../bson/bson.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, safeText } from '../cluster/errors.js';
import type { DocumentFilterSpec } from '../documents/document-filter.js';
import { AppError } from '../errors.js';
import { checkData, checkDiskSpace, checkOplog } from './data.js';
import { checkArbiters, checkDeployments } from './deployments.js';
import { blocker, type Finding, warning } from './finding.js';
import { checkLeftOut } from './left-out.js';
import { checkNamedData, type NaturalOrderNames } from './named-data.js';
import { checkOptionSupport } from './option-support.js';
import { checkPrivileges, type PrivilegeOptions } from './privileges.js';
import { checkSharding, checkShardingPair, type ShardingOptions } from './sharding.js';
import { checkBypassingUsers, checkWriteBlocks } from './write-blocks.js';

/** Which of the start options the checks depend on. */
export interface PreflightOptions extends PrivilegeOptions, ShardingOptions {
  readonly skipDiskSpaceCheck: boolean;
  readonly scope: Scope;
  readonly buildIndexes: string;
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  readonly namespaceRemap: readonly { readonly from: string; readonly to: string }[];
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
  const support = [
    ...checkOptionSupport(source, destination, options),
    ...(await checkShardingPair(source, destination, options, signal)),
  ];
  // The other checks need replica sets of known versions.
  if (deployments.some((finding) => finding.severity === 'blocker')) return sorted([...deployments, ...support]);
  const findings = [...deployments, ...support, ...(await checkPrivileges(source, destination, options, signal))];
  const checks = [
    () => checkArbiters([source, destination], signal),
    () => checkData(source, destination, options, signal),
    () => checkNamedData(source, options, signal),
    () => checkLeftOut(source, options.scope, signal),
    () => checkSharding(source, destination, options, signal),
    () => checkOplog(source, options.scope, signal),
    () => checkWriteBlocks(source, destination, options, signal),
    () => checkBypassingUsers(source, destination, options, signal),
    ...(options.skipDiskSpaceCheck ? [] : [() => checkDiskSpace(source, destination, options.scope, signal)]),
  ];
  for (const check of checks) {
    try {
      findings.push(...(await check()));
    } catch (error) {
      findings.push(findingOf(error));
    }
  }
  return sorted(unique(findings));
}

/** What a check could not get over, as a finding. */
function findingOf(error: unknown): Finding {
  if (codeOf(error) === Code.Unauthorized) return skipped(error);
  // Of the filter's expressions: what is no change yet is an option that cannot be followed.
  if (error instanceof AppError && error.code === 'UnsupportedChange')
    return blocker('OptionNotSupported', error.message, 'Change includeNamespaces or excludeNamespaces.');
  throw error;
}

/** Two checks may come upon the same. */
function unique(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((each) => [`${each.name} ${each.description}`, each])).values()];
}

function skipped(error: unknown): Finding {
  return warning(
    'CheckSkipped',
    `a check could not be made: ${safeText(error)}`,
    'Grant the privilege, or check this by other means.',
  );
}

function sorted(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => (a.severity === b.severity ? 0 : a.severity === 'blocker' ? -1 : 1));
}
