/** How a test file borrows replica sets from the runner, which keeps them alive over the files. */
import { isDeepStrictEqual } from 'node:util';
import { FAIL_POINTS } from './fail-points.js';
import type { ReplicaSetOptions } from './replica-set-options.js';

/** Set by a runner that lends sets to the process it starts, over the channel between the two. */
export const LENDER = 'MONGOFERRY_TEST_LENDER';

/** A kind of set that is lent: one member, no access control, no TLS, the default server. */
export interface WantedSet {
  /** Undefined: any will do. */
  readonly name: string | undefined;
  /** Whether the server's switch for tests is on. */
  readonly failPoints: boolean;
}

/** A set as one process describes it to another. */
export interface LentSet {
  readonly id: number;
  readonly name: string;
  readonly version: string;
  readonly members: readonly {
    readonly host: string;
    readonly port: number;
    readonly pid: number;
    readonly dbPath: string;
    readonly logPath: string;
  }[];
}

/** What a test file sends. */
export type LoanRequest =
  | { readonly type: 'borrow'; readonly request: number; readonly wanted: WantedSet }
  | { readonly type: 'giveBack'; readonly id: number };

/** The answer to `borrow`; without a set where none could be started. */
export interface LoanAnswer {
  readonly type: 'lent';
  readonly request: number;
  readonly set?: LentSet;
}

/** A set in a test's hands. */
export interface Loan {
  readonly set: LentSet;
  giveBack(): void;
}

/** What a set of these options is to a lender; undefined for one that is never lent. */
export function wantedSet(options: ReplicaSetOptions): WantedSet | undefined {
  const { name, setParameters = {}, members = 1, version = '6.0', signal: _signal, ...others } = options;
  if (members !== 1 || version !== '6.0') return undefined;
  if (Object.values(others).some((value) => value !== undefined && value !== false)) return undefined;
  const failPoints = isDeepStrictEqual({ ...setParameters }, { ...FAIL_POINTS });
  if (!failPoints && Object.keys(setParameters).length > 0) return undefined;
  return { name, failPoints };
}

/** Borrows a set; undefined where nobody lends, or not such a one. Errors: the signal's reason once it aborts. */
export async function borrow(options: ReplicaSetOptions): Promise<Loan | undefined> {
  const wanted = wantedSet(options);
  if (wanted === undefined || process.env[LENDER] === undefined || process.send === undefined) return undefined;
  options.signal?.throwIfAborted();
  const set = await ask(wanted);
  return set === undefined ? undefined : { set, giveBack: () => send({ type: 'giveBack', id: set.id }) };
}

const waiting = new Map<number, (set: LentSet | undefined) => void>();
let requests = 0;

async function ask(wanted: WantedSet): Promise<LentSet | undefined> {
  if (requests === 0) process.on('message', take);
  requests += 1;
  const request = requests;
  // Referenced only while an answer is awaited: the channel must not keep a file from ending.
  process.channel?.ref();
  try {
    return await new Promise((resolve) => {
      waiting.set(request, resolve);
      send({ type: 'borrow', request, wanted });
    });
  } finally {
    waiting.delete(request);
    if (waiting.size === 0) process.channel?.unref();
  }
}

function take({ request, set }: LoanAnswer): void {
  waiting.get(request)?.(set);
}

/** A runner that is gone has taken its sets along. */
function send(message: LoanRequest): void {
  if (process.connected) process.send?.(message);
}
