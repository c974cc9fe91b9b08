/** Writes to a cluster, for whoever holds the right to write. */

import type { Binary, Doc } from '../bson/bson.js';
import { InvariantError } from '../errors.js';
import { unlessAborted } from '../lib/signals.js';
import { MAJORITY_WRITE } from './clients.js';
import { Cluster, WRITE_LIMIT_MS } from './cluster.js';
import { nameOf, type WriteOptions } from './commands.js';
import type { WriteSessions } from './numbered-sessions.js';
import type { OtherWriters } from './other-writers.js';
import type { WriteRight } from './write-right.js';

/** Writes of documents, which the server refuses by their number when they come late, and where their statements are. */
const FIELDS = new Map([
  ['insert', 'documents'],
  ['update', 'updates'],
  ['delete', 'deletes'],
]);

/**
 * A view of a cluster with a right to write: every write asks it. Writes have majority write concern and, where it is
 * needed and allowed, the bypass of a write block. A write whose answer is lost takes effect before the next one or never:
 * documents by their number, which the server checks (`WriteSessions`), everything else by waiting for its connection to
 * end (`StructuralCommands`, which all views of a cluster share).
 */
export class WritableCluster extends Cluster {
  readonly right: WriteRight;
  readonly #sessions: WriteSessions | undefined;

  /** `sessions`: undefined where no documents are written by number: a source, and servers before 6.0. */
  constructor({ core }: Cluster, right: WriteRight, sessions: WriteSessions | undefined) {
    super(core);
    this.right = right;
    this.#sessions = sessions;
  }

  /** Throws when this process may not write here now; `write` asks it by itself. */
  assertMayWrite(): void {
    this.right.assertHeld();
  }

  /** As `assertMayWrite`, and nothing may come any more of threads that have ended. */
  async #assertMayWriteNow(): Promise<void> {
    this.assertMayWrite();
    await this.#sessions?.others.resolveLeft();
    this.assertMayWrite();
  }

  /** The threads that write here for the same holder. Errors: Internal where documents are not written by number. */
  get otherWriters(): OtherWriters {
    if (this.#sessions === undefined) throw new InvariantError('threads were to write where no writes are numbered');
    return this.#sessions.others;
  }

  /** The sessions that documents are written in; none where they are not written by number. */
  get sessionIds(): readonly Binary[] {
    return this.#sessions?.ids ?? [];
  }

  /** As `command`, for what changes something. Errors: also LeaseLost, and TransientError. */
  async write(db: string, command: Doc, options: WriteOptions): Promise<Doc> {
    options.signal.throwIfAborted();
    await this.#assertMayWriteNow();
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    const field = FIELDS.get(nameOf(command));
    if (field === undefined || isMulti(command)) return this.structure(db, full, options);
    const { unblocked, commands, clients } = this.core;
    const sessions = options.record === true ? this.#sessions?.record : this.#sessions?.data;
    const { signal, ...others } = options;
    const [client, sending] =
      options.record === true ? [clients.record, { ...options, limitMs: WRITE_LIMIT_MS }] : [clients.data, others];
    if (sessions === undefined) return unblocked.send(full, (ready) => commands.run(client, db, ready, sending));
    const statements = options.statements ?? (command[field] as readonly unknown[]).length;
    return unblocked.send(full, (ready) =>
      sessions.send(statements, signal, ({ session, fields }) => {
        // A free session may have been waited for.
        signal.throwIfAborted();
        this.assertMayWrite();
        return commands.run(client, db, { ...ready, ...fields }, { ...sending, session });
      }),
    );
  }

  /** Sends what changes the catalog or the write block, as it is. `write` adds the write concern. */
  async structure(db: string, command: Doc, { signal }: WriteOptions): Promise<Doc> {
    signal.throwIfAborted();
    await this.#assertMayWriteNow();
    const { unblocked, structural, commands, clients } = this.core;
    return this.right.changing(() =>
      unblocked.send(command, (ready) =>
        structural.send(nameOf(command), signal, (session) => {
          signal.throwIfAborted();
          this.assertMayWrite();
          return commands.run(clients.structure, db, ready, { session });
        }),
      ),
    );
  }

  /**
   * Resolves once no change of the catalog whose answer was lost can take effect any more: what is read of the catalog
   * before that may be otherwise a moment later. Errors: TransientError while one can.
   */
  async resolveLostStructure(signal: AbortSignal): Promise<void> {
    await unlessAborted(this.core.structural.resolveLost(), signal);
  }

  /** Resolves once no write whose answer was lost can take effect any more. */
  async resolveLostWrites(signal: AbortSignal): Promise<void> {
    await this.attempt('making sure of writes whose answer was lost', signal, async () => {
      await this.core.structural.resolveLost();
      await this.#sessions?.data.resolveLost();
      await this.#sessions?.record.resolveLost();
      await this.#sessions?.others.resolveLost();
    });
  }
}

/** Whether it removes any number of documents: such a one is no retryable write, and has no number. */
function isMulti({ deletes }: Doc): boolean {
  return Array.isArray(deletes) && (deletes as { limit?: unknown }[]).some(({ limit }) => limit === 0);
}
