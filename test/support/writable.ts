/** Clusters that tests write to through the program's own door, without a lease. */
import type { Cluster } from '../../src/cluster/cluster.js';
import type { WriteSessions } from '../../src/cluster/numbered-sessions.js';
import { WritableCluster } from '../../src/cluster/writable-cluster.js';
import type { WriteRight } from '../../src/cluster/write-right.js';

/** The right of whoever has a cluster for himself. */
export function rightAlone(term?: number): WriteRight {
  return { term, assertHeld: () => undefined, changing: (work) => work() };
}

export function writableAlone(
  cluster: Cluster,
  { term, sessions }: { readonly term?: number; readonly sessions?: WriteSessions | undefined } = {},
): WritableCluster {
  return new WritableCluster(cluster, rightAlone(term), sessions);
}
