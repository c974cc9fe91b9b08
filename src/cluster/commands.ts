/** Sends commands of one cluster and keeps account of them: what they take, what they wait for, whether they have left. */

import type { Doc, Timestamp } from '../bson/bson.js';
import { commandKind, metrics } from '../metrics.js';
import type { CommandLimits, Deadlines } from './deadlines.js';
import type { DriverClient, DriverSession } from './driver.js';
import { mayHaveBeenSent, tagMaybeSent, tagOrigin } from './errors.js';
import { SentCommands } from './sent-commands.js';
import type { Waiting } from './waiting.js';

/** Driver options of one command, beyond the command itself. */
export interface CommandOptions extends CommandLimits {
  readonly session?: DriverSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly raw?: Record<string, boolean>;
  /** Leaves all of the reply's `cursor` as raw BSON. */
  readonly rawCursor?: boolean;
  /** Uses the small pool kept for control. */
  readonly control?: boolean;
  /** Uses the one kept for the lease and the migration's record, which nothing else may hold up. */
  readonly record?: boolean;
  /** Nothing has happened on the cluster but this: the time of its reply is not what the cluster has come to. */
  readonly isNoNews?: boolean;
  /** How many statements a write has, where its payload is none of the driver's arrays. */
  readonly statements?: number;
}

/** Of a command that changes something. */
export interface WriteOptions extends CommandOptions {
  /**
   * Keeps it from being sent. One that has been sent is waited for: given up, it would have to be made void on the server
   * (documents) or its connection be waited for (everything else) before the next one, and no pause or end of the process
   * could be stored any sooner, since that needs the same server. Only those of the record are given up midway, by calls
   * that are answered within seconds.
   */
  readonly signal: AbortSignal;
}

/** Of a command that changes nothing. */
export interface ReadOptions extends CommandOptions {
  /** Ends it at once. Midway the driver closes its connection, so that the server ends it, too. */
  readonly signal: AbortSignal;
}

/** What commands are sent with. */
export interface CommandsParts {
  /** The cluster's name. */
  readonly name: string;
  readonly deadlines: Deadlines;
  readonly waiting: Waiting;
  /** The client of whose numbered writes it must be known whether they have left. */
  readonly watched: DriverClient;
}

/** The one place that hands commands to the driver. Errors are the driver's, and those of `Deadlines`. */
export class Commands {
  readonly #parts: CommandsParts;
  readonly #sent: SentCommands;
  #now: Timestamp | undefined;

  constructor(parts: CommandsParts) {
    this.#parts = parts;
    this.#sent = new SentCommands(parts.watched);
  }

  /** The newest cluster time seen in any reply. */
  get now(): Timestamp | undefined {
    return this.#now;
  }

  /** Another client of this process has seen this time in a reply of the same cluster. */
  saw(time: Timestamp): void {
    this.#seeTime(time);
  }

  /** Sends one command over a client, once. The error tells, by `isMaybeSent`, whether it may be carried out all the same. */
  async run(client: DriverClient, db: string, command: Doc, options: CommandOptions): Promise<Doc> {
    const { name: cluster, deadlines, waiting, watched } = this.#parts;
    const started = performance.now();
    const name = nameOf(command);
    const answered = waiting.sent(db, command);
    const isWatched = client === watched && options.session !== undefined;
    const watch = isWatched ? this.#sent.watch(options.session) : undefined;
    try {
      const reply: Doc = await deadlines.within(name, options, (signal) =>
        client.command(db, command, {
          signal,
          ...(options.session === undefined ? {} : { session: options.session }),
          ...(options.raw === undefined ? {} : { fieldsAsRaw: options.raw }),
          ...(options.rawCursor === undefined ? {} : { rawCursor: options.rawCursor }),
        }),
      );
      if (options.isNoNews !== true) this.#seeTime(reply['operationTime'] as Timestamp | undefined);
      return reply;
    } catch (error) {
      const hasLeft = watch === undefined || watch.sentOn !== undefined;
      if (hasLeft && mayHaveBeenSent(error)) tagMaybeSent(error);
      tagOrigin(error, { text: `${name} of ${db}.${String(Object.values(command)[0])} on ${cluster}`, waiting });
      throw error;
    } finally {
      answered();
      watch?.stop();
      metrics.commandDuration.record(performance.now() - started, { cluster, kind: commandKind(name) });
    }
  }

  #seeTime(time: Timestamp | undefined): void {
    if (time !== undefined && (this.#now === undefined || time.greaterThan(this.#now))) this.#now = time;
  }
}

/** A command's name: its first field's. */
export function nameOf(command: Doc): string {
  return Object.keys(command)[0] ?? 'unknown';
}
