/**
 * Sends what changes the catalog or the write block so that a command whose answer was lost has either taken effect or
 * never will before anything of the kind is sent again.
 */

import type { Doc } from '../bson/bson.js';
import { unlessAborted } from '../lib/signals.js';
import type { DriverClient, DriverSession } from './driver.js';
import { isMaybeSent, TransientError } from './errors.js';
import { SentCommands, type SentOn } from './sent-commands.js';

interface LostCommand extends SentOn {
  /** For messages, e.g. "create". */
  readonly name: string;
}

/**
 * A server takes transaction numbers for document writes only, so it cannot refuse a late `create`, `collMod`, `drop` or
 * `setUserWriteBlockMode` (see NumberedSessions for the others). What it can tell is its connections: bytes under way
 * belong to one, and are read before the server lets it go. So a lost command's connection is looked for in `$currentOp`,
 * idle ones included, and nothing structural is sent before it is gone. Then the caller looks at what there is, as
 * after every error.
 *
 * Example: a proxy cuts our connection 41 and keeps a `drop`. The retry waits while the server lists connection 41. The
 * proxy delivers: the drop is carried out, the connection ends, the retry finds the collection gone.
 * A server that was started again counts its connections anew, and may give the number to a new one of ours: of a process
 * that has ended nothing can come any more.
 * Source: MongoDB manual, $currentOp (idleConnections); hello (topologyVersion.processId); docs/02-lifecycle.md, "Writes that arrive late".
 */
export class StructuralCommands {
  readonly #client: DriverClient;
  readonly #tag: string;
  readonly #isSharded: boolean;
  readonly #sent: SentCommands;
  #lost: LostCommand[] = [];

  /** `tag`: what servers know the client's connections by. The client must tell of what it sends. */
  constructor(client: DriverClient, { tag, isSharded }: { readonly tag: string; readonly isSharded: boolean }) {
    this.#client = client;
    this.#tag = tag;
    this.#isSharded = isSharded;
    this.#sent = new SentCommands(client);
  }

  /** Whether a lost command may still be carried out, as far as is known. */
  get holdsLost(): boolean {
    return this.#lost.length > 0;
  }

  /**
   * `send` sends one command in the session it is given. `signal` ends the looking for lost ones before
   * it, not the command. Errors: its own; TransientError while a lost one may come.
   */
  async send(name: string, signal: AbortSignal, send: (session: DriverSession) => Promise<Doc>): Promise<Doc> {
    await unlessAborted(this.resolveLost(), signal);
    const { reply, sentOn, error } = await this.#watch(send);
    if (reply !== undefined) return reply;
    if (sentOn !== undefined && isMaybeSent(error)) this.#lost.push({ ...sentOn, name });
    throw error;
  }

  /**
   * Resolves once no lost command can take effect on the present primary any more. Errors: TransientError while one can;
   * the driver's.
   */
  async resolveLost(): Promise<void> {
    for (const lost of [...this.#lost]) {
      const found = await this.#find(lost);
      if (found === 'listed') throw mayStillCome(lost);
      // On another server it can do nothing until that one is primary again; then it is looked for once more.
      if (found === 'gone') this.#lost = this.#lost.filter((each) => each !== lost);
    }
  }

  async #find(lost: LostCommand): Promise<'listed' | 'gone' | 'elsewhere'> {
    const { connectionId } = lost;
    const own = { 'clientMetadata.platform': { $regex: this.#tag } };
    // Of a sharded cluster a mongos has the connection, and the shards may go on with what it has sent them.
    const found = await this.#look(lost, { connectionId, ...own }, this.#isSharded ? { localOps: true } : {});
    if (found !== 'gone' || !this.#isSharded) return found;
    return this.#look(lost, { active: true, 'command.aggregate': { $exists: false }, ...own }, {});
  }

  async #look(lost: LostCommand, match: Doc, where: Doc): Promise<'listed' | 'gone' | 'elsewhere'> {
    const { address } = lost;
    const pipeline = [
      { $currentOp: { allUsers: false, idleConnections: true, ...where } },
      { $match: match },
      { $limit: 1 },
      { $project: { connectionId: 1 } },
    ];
    const signal = AbortSignal.timeout(LOOK_MS);
    const { reply, sentOn, error } = await this.#watch((session) =>
      this.#client.command('admin', { aggregate: 1, pipeline, cursor: {} }, { session, signal }),
    );
    if (reply === undefined) throw signal.aborted ? notFoundOut(address) : error;
    if (sentOn?.address !== address) return 'elsewhere';
    if (!this.#isSharded && isOtherProcess(lost, sentOn)) return 'gone';
    return (reply['cursor'] as { firstBatch: unknown[] }).firstBatch.length > 0 ? 'listed' : 'gone';
  }

  /** What came of a command, and where it was sent; `sentOn` is undefined when it never was. */
  async #watch(send: (session: DriverSession) => Promise<Doc>): Promise<Watched> {
    const session = this.#client.startSession();
    const watch = this.#sent.watch(session);
    try {
      return { reply: await send(session), sentOn: watch.sentOn, error: undefined };
    } catch (error) {
      return { reply: undefined, sentOn: watch.sentOn, error };
    } finally {
      watch.stop();
      await session.endSession();
    }
  }
}

/** Not of routers: several may answer at one address. What is not told is not known to be another one. */
function isOtherProcess(a: SentOn, b: SentOn): boolean {
  return a.process !== undefined && b.process !== undefined && a.process !== b.process;
}

const LOOK_MS = 10_000;

interface Watched {
  readonly reply: Doc | undefined;
  readonly sentOn: SentOn | undefined;
  readonly error: unknown;
}

function notFoundOut(address: string): TransientError {
  return new TransientError(
    `whether ${address} may still carry out a command whose answer was lost was not found out within ${LOOK_MS / 1000} s`,
  );
}

function mayStillCome({ name, address, connectionId }: LostCommand): TransientError {
  return new TransientError(
    `the answer to a ${name} command was lost, and ${address} may still carry it out: waiting for the server's connection ${connectionId} to end. If a proxy or a load balancer keeps it open, close it there`,
  );
}
