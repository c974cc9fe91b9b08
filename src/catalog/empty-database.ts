/** Drops empty databases of the destination whose names stand in the way of others. */
import type { Doc } from '../bson/bson.js';
import { confirmed } from '../cluster/confirmed.js';
import { Code, codeOf, TransientError } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { listNames } from './catalog.js';
import type { Namespace } from './namespace.js';

/** What became of a database that was to be dropped: all others stay as they are. */
export type DropOutcome = 'dropped' | 'inUse' | 'notPermitted';

/** What a server leaves of a database whose views have been dropped. */
const LEFT_OF_VIEWS = 'system.views';

/**
 * Drops a database that holds nothing, whose name would stay taken otherwise: a server does not let another one in that
 * differs in case only. One that holds anything stays as it is, also what only a server puts there, as a profile. For
 * destinations on which nobody else may create collections: the command would take what comes in the meantime.
 */
export async function dropEmptyDatabase(
  cluster: WritableCluster,
  db: string,
  signal: AbortSignal,
): Promise<DropOutcome> {
  const { value: names } = await confirmed(cluster, signal, () => listNames(cluster, db, signal));
  if (names.some((name) => name !== LEFT_OF_VIEWS)) return 'inUse';
  const command: Doc = { dropDatabase: 1 };
  return cluster.attempt(`dropping the empty database ${db}`, signal, async () => {
    try {
      await cluster.write(db, command, { control: true, signal });
      return 'dropped';
    } catch (error) {
      if (codeOf(error) !== Code.Unauthorized) throw error;
      return 'notPermitted';
    }
  });
}

/** Runs `create`; where an empty database stands in its way, it is dropped first, and one that holds something waited for. */
export async function freeingName<T>(
  cluster: WritableCluster,
  wanted: { readonly ns: Namespace; readonly sharesDestination: boolean },
  signal: AbortSignal,
  create: () => Promise<T>,
): Promise<T> {
  const { ns, sharesDestination } = wanted;
  const what = `creating ${ns.db}.${ns.coll}`;
  return cluster.attempt(what, signal, async () => {
    try {
      return await create();
    } catch (error) {
      const other = nameInTheWay(error, ns.db);
      if (other === undefined) throw error;
      const outcome = sharesDestination ? 'inUse' : await dropEmptyDatabase(cluster, other, signal);
      if (outcome === 'dropped') return create();
      throw inTheWay(ns.db, other, outcome, error);
    }
  });
}

/** An empty database is in no listing: only the refusal names it. */
function nameInTheWay(error: unknown, db: string): string | undefined {
  if (codeOf(error) !== Code.DatabaseDifferCase || !(error instanceof Error)) return undefined;
  const name = /already have: \[([^\]]*)\]/.exec(error.message)?.[1];
  return name !== undefined && name !== db && name.toLowerCase() === db.toLowerCase() ? name : undefined;
}

/** To be tried again: somebody can free the name. */
function inTheWay(db: string, other: string, outcome: DropOutcome, cause: unknown): TransientError {
  const remedy =
    outcome === 'notPermitted'
      ? `it is empty, but the user lacks the privilege dropDatabase. Grant it, or drop the database there with db.getSiblingDB("${other}").dropDatabase()`
      : `mongoferry does not drop it, because it may hold other data. Move or drop that data, then drop the database with db.getSiblingDB("${other}").dropDatabase()`;
  return new TransientError(
    `the destination refuses the database ${db} while it has ${other}, whose name differs only in case; ${remedy}`,
    { cause },
  );
}
