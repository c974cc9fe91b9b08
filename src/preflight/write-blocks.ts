/** Checks for write blocks that exist already, and for users whom a block does not stop. */
import type { Cluster } from '../cluster/cluster.js';
import { bypassingUsers } from '../cluster/users.js';
import { isBlocked } from '../cluster/write-block.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';
import type { PrivilegeOptions } from './privileges.js';

const UNBLOCK = 'db.adminCommand({setUserWriteBlockMode: 1, global: false})';

/**
 * Blocks that are there already are somebody else's, and stay theirs. On the destination that would make canWrite a
 * lie; on the source it only means that nobody writes there.
 */
export async function checkWriteBlocks(
  source: Cluster,
  destination: Cluster,
  { blocksSource }: PrivilegeOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (await isBlocked(destination, signal)) findings.push(blockedAlready(destination));
  if (blocksSource && source.isAtLeast(6) && (await isBlocked(source, signal))) {
    findings.push(
      warning(
        'SourceWritesBlocked',
        `user writes on ${source.label} are already blocked; somebody else set this block, and the migration will not lift it`,
        `If that is not intended, run there: ${UNBLOCK}.`,
      ),
    );
  }
  return findings;
}

/** The finding that somebody else has blocked the destination. */
export function blockedAlready(destination: Cluster): Finding {
  return blocker(
    'DestinationWritesBlocked',
    `user writes on ${destination.label} are already blocked`,
    `Find out who blocked them; then run there: ${UNBLOCK}.`,
  );
}

/** Users whom a write block does not stop, on the sides that will be blocked; nothing where users may not be read. */
export async function checkBypassingUsers(
  source: Cluster,
  destination: Cluster,
  { blocksSource, blocksDestination }: PrivilegeOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const sides = [...(blocksDestination ? [destination] : []), ...(blocksSource ? [source] : [])];
  const findings: Finding[] = [];
  for (const cluster of sides) {
    const users = cluster.isAtLeast(6) ? await bypassingUsers(cluster, signal) : [];
    if (users.length === 0) continue;
    const more = users.length > MAX_NAMED ? ` and ${users.length - MAX_NAMED} more` : '';
    findings.push(
      warning(
        'UsersBypassWriteBlock',
        `the write block of ${cluster.label} does not stop these users, because they have the privilege bypassWriteBlockingMode: ${users.slice(0, MAX_NAMED).join(', ')}${more}`,
        'Make sure that no application uses them until canWrite is true.',
      ),
    );
  }
  return findings;
}
