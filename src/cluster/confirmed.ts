/** Reads the catalog so that a majority of the replica set has what was read. */
import type { Doc, Timestamp } from '../bson/bson.js';
import { sleep } from '../lib/signals.js';
import type { Cluster } from './cluster.js';
import { writeOplogNote } from './oplog-note.js';

const AGAIN_MS = 100;

/** What was read, and the cluster time by which a majority had it. */
export interface Settled<T> {
  readonly value: T;
  readonly time: Timestamp;
}

/**
 * Has `look` read the catalog, again if need be, until what it saw is what a majority has. The catalog's commands read
 * what the primary has: a change that is not replicated yet is among it, and is rolled back when another primary is
 * elected; and a primary that has been replaced goes on answering for a while. So one primary must have answered in one
 * term from before the look until a majority has stored a note of the same primary, which comes after all that was seen.
 *
 * `look` must return what it found rather than throw: what it saw may not last.
 */
export async function confirmed<T>(cluster: Cluster, signal: AbortSignal, look: () => Promise<T>): Promise<Settled<T>> {
  for (;;) {
    const before = await primaryOf(cluster, signal);
    const value = await look();
    const time = await writeOplogNote(cluster, 'catalog', signal);
    const after = await primaryOf(cluster, signal);
    if (before.isOne && after.isOne && before.name === after.name) return { value, time };
    await sleep(AGAIN_MS, signal);
  }
}

interface Primary {
  readonly name: string;
  /** Whether all clients, each of which follows the set by itself, have found the same one. */
  readonly isOne: boolean;
}

/** The server that answers, with its election, which no other server and no later term of the same has. */
async function primaryOf(cluster: Cluster, signal: AbortSignal): Promise<Primary> {
  const hellos = await cluster.attempt('asking for the primary', signal, () => cluster.helloOfAll(signal));
  const [name = '', ...others] = hellos.map(nameOf);
  return { name, isOne: others.every((each) => each === name) };
}

function nameOf(hello: Doc): string {
  return `${String(hello['me'])} ${String(hello['electionId'])}`;
}
