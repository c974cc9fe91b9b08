/** Sends commands of one cluster and keeps account of them: what they take, what they wait for, whether they have left. */
import type { ClientSession, MongoClient } from 'mongodb';
import { commandKind, metrics } from '../metrics.js';
import type { Doc, Timestamp } from './bson.js';
import type { CommandLimits, Deadlines } from './deadlines.js';
import { mayHaveBeenSent, noteMaybeSent, noteOrigin } from './errors.js';
import { SentCommands } from './sent-commands.js';
import type { Waiting } from './waiting.js';

/** Driver options of one command, beyond the command itself. */
export interface CommandOptions extends CommandLimits {
  readonly session?: ClientSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly raw?: Record<string, boolean>;
  /** Uses the small pool kept for control. */
  readonly control?: boolean;
  /** Uses the one kept for the lease and the migration's record, which nothing else may hold up. */
  readonly record?: boolean;
  /** How many statements a write has, where its payload is none of the driver's arrays. */
  readonly statements?: number;
}

/** What commands are sent with. */
export interface CommandsParts {
  /** The cluster's name. */
  readonly name: string;
  readonly deadlines: Deadlines;
  readonly waiting: Waiting;
  /** The client of whose numbered writes it must be known whether they have left. */
  readonly watched: MongoClient;
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
  async run(client: MongoClient, db: string, command: Doc, options: CommandOptions): Promise<Doc> {
    const { name: cluster, deadlines, waiting, watched } = this.#parts;
    const started = performance.now();
    const name = nameOf(command);
    const answered = waiting.sent(db, command);
    const isWatched = client === watched && options.session !== undefined;
    const watch = isWatched ? this.#sent.watch(options.session) : undefined;
    try {
      const reply: Doc = await deadlines.within(name, options, (signal) =>
        client.db(db).command(command, {
          signal,
          promoteLongs: false,
          ...(options.session === undefined ? {} : { session: options.session }),
          ...(options.raw === undefined ? {} : { fieldsAsRaw: options.raw }),
        }),
      );
      this.#seeTime(reply['operationTime'] as Timestamp | undefined);
      return reply;
    } catch (error) {
      const hasLeft = watch === undefined || watch.sentOn !== undefined;
      if (hasLeft && mayHaveBeenSent(error)) noteMaybeSent(error);
      noteOrigin(error, `${name} of ${db}.${String(Object.values(command)[0])} on ${cluster}`);
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
