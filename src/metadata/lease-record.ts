/** Reads and writes what the lease's record says of the processes that have held it. */
import type { Binary, Doc } from '../bson/bson.js';

/** The `_id` of the lease that gives the right to coordinate: to change the migration's record, and all but copy ranges. */
export const MIGRATION_LEASE = 'lease';
/** Begins the `_id`s of the leases of instances that help. */
const INSTANCE_LEASE = 'lease:';

/** The `_id` of the lease under which an instance helps. */
export function instanceLease(instance: string): string {
  return `${INSTANCE_LEASE}${instance}`;
}

/** Who has a lease, as its record tells. */
export interface LeaseHolder {
  /** Undefined: of a version that had no instances. */
  readonly instance: string | undefined;
  /** Of its connections. */
  readonly client: string | undefined;
  /** Whether it has not been given back. */
  readonly isHeld: boolean;
}

/** The holders of the leases there are: of the migration's own, and of each instance that helps, by its name. */
export function holdersOf(leases: readonly Doc[]): {
  readonly coordinator: LeaseHolder | undefined;
  readonly helpers: ReadonlyMap<string, LeaseHolder>;
} {
  const helpers = new Map<string, LeaseHolder>();
  let coordinator: LeaseHolder | undefined;
  for (const { _id, instance, client, pid } of leases) {
    const id = String(_id);
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    const holder = { instance: text(instance), client: text(client), isHeld: Number(pid) !== 0 };
    if (id === MIGRATION_LEASE) coordinator = holder;
    else if (id.startsWith(INSTANCE_LEASE)) helpers.set(id.slice(INSTANCE_LEASE.length), holder);
  }
  return { coordinator, helpers };
}

/** How a server knows what a process sends. */
export interface HolderIdentity {
  /** Of its connections. */
  readonly client: string;
  /** Of its numbered writes. */
  readonly sessions: readonly Binary[];
  /** The name of the process, its `--id`. */
  readonly instance?: string;
  /** "name@database" of the user it logs in as; '' where access control is off. */
  readonly user: string;
}

/** A process that held the lease before, and whose commands the server may still carry out. */
export interface EarlierHolder extends HolderIdentity {
  /** A structural command of its was under way, or may have been. */
  readonly wasChanging: boolean;
}

/** No user's name: of a process of which nothing but its connections is known. */
const NOBODY = '?';

/** Those who held it before, as far as it is not stored that nothing of theirs can take effect. */
export function unended(current: Doc | undefined): EarlierHolder[] {
  if (current === undefined) return [];
  const { ending, client, sessions, user, begun, ended } = current as {
    ending?: (EarlierHolder | string)[];
    client?: string | null;
    sessions?: Binary[];
    user?: string;
    begun?: unknown;
    ended?: unknown;
  };
  // Of a version that numbered no writes only the connections are known: they are waited for.
  const unnumbered = (tag: string): EarlierHolder => ({ client: tag, sessions: [], user: NOBODY, wasChanging: true });
  const earlier = (ending ?? []).map((each) => (typeof each === 'string' ? unnumbered(each) : each));
  if (client === undefined || client === null) return earlier;
  if (sessions === undefined) return [...earlier, unnumbered(client)];
  return [...earlier, { client, sessions, user: user ?? '', wasChanging: Number(begun) > Number(ended) }];
}

/** Fields for a pipeline's `$set`, none of them taken for an expression. */
export function literals(fields: Doc): Doc {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, { $literal: value }]));
}
