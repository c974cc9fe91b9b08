import type { Cluster } from '../cluster/cluster.js';
import { blocker, type Finding } from './finding.js';
import type { PrivilegeOptions } from './privileges.js';

/** What the servers' versions have against a block of the source and a reversal. Source: docs/options.md. */
export function checkBlockingSupport(
  source: Cluster,
  destination: Cluster,
  { blocksSource, reversible }: PrivilegeOptions,
): Finding[] {
  const findings: Finding[] = [];
  const { versionText } = source.facts;
  if (blocksSource && !source.isAtLeast(6)) {
    findings.push(
      blocker(
        'OptionNotSupported',
        `enableUserWriteBlocking "sourceAndDestination" needs MongoDB 6.0 or later on the source, which runs ${versionText}`,
        'Start with "destinationOnly", and stop the applications before the commit.',
      ),
    );
  }
  if (reversible && !source.isAtLeast(6)) {
    findings.push(
      blocker(
        'OptionNotSupported',
        `reversible needs MongoDB 6.0 or later on the source, which runs ${versionText}`,
        'Start without it.',
      ),
    );
  }
  if (reversible && release(source) !== release(destination)) {
    findings.push(
      blocker(
        'OptionNotSupported',
        `reversible needs the same release on both sides, not ${versionText} and ${destination.facts.versionText}`,
        'Start without it, or bring both to one release first.',
      ),
    );
  }
  return findings;
}

function release({ facts }: Cluster): string {
  const [major, minor] = facts.version;
  return `${major}.${minor}`;
}
