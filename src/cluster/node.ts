/** Identifies the primary that commands reach, across elections and restarts. */
import { ObjectId } from '../bson/bson.js';
import type { Cluster } from './cluster.js';

/** Which server is primary, and since when. */
export interface Node {
  /** The server process: another one after each of its starts, so that resynchronised data is never taken for the old. */
  readonly process: string;
  /** The election that made it primary. */
  readonly election: string;
}

/** The primary that commands reach now. Source: MongoDB manual, "hello": topologyVersion, electionId (4.4 and later). */
export async function currentNode(cluster: Cluster, signal: AbortSignal): Promise<Node> {
  const reply = await cluster.command('admin', { hello: 1 }, { signal });
  const { processId } = (reply['topologyVersion'] ?? {}) as { processId?: unknown };
  return { process: hex(processId), election: hex(reply['electionId']) };
}

export function sameNode(a: Node, b: Node): boolean {
  return a.process !== '' && a.process === b.process && a.election === b.election;
}

function hex(value: unknown): string {
  return value instanceof ObjectId ? value.toHexString() : '';
}
