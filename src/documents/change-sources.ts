/** Decides which implementation of ChangeSource a run reads: no other file knows more than the interface. */

import type { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import type { ChangeSource } from './change-source.js';
import { liveChanges } from './change-stream.js';
import type { StreamPace } from './stream-pace.js';

/** The changes of a migration's source, to be applied. */
export function changesToApply(source: Cluster, logger: Logger, pace: StreamPace): ChangeSource {
  return liveChanges(source, logger, pace);
}

/** The changes of both clusters, to be verified: never those that the application reads, whose faults they would share. */
export function changesOfBoth(
  { source, destination }: { readonly source: Cluster; readonly destination: Cluster },
  logger: Logger,
  pace?: StreamPace,
): { readonly source: ChangeSource; readonly destination: ChangeSource } {
  return { source: liveChanges(source, logger, pace), destination: liveChanges(destination, logger, pace) };
}
