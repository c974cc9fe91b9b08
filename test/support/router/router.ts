/** The router double: a stand-in for a mongos that holds no data and no sharding state, in front of real servers. */
import { Backend, type BackendOptions } from './backend.js';
import { Catalog } from './catalog.js';
import { Command } from './command.js';
import { commandOf, WITHOUT_LOGIN } from './commands.js';
import { CursorStore } from './cursor-store.js';
import { DatabaseGone, isRetryableWrite, RouterError, ShardError } from './errors.js';
import { CutConnection, FailCommand, withConcernError } from './fail-command.js';
import type { Message } from './messages.js';
import { requirePrivileges } from './privileges.js';
import { type Doc, doc, type Encodable, fieldOf, numberOf, type RawValue, rawValue, textOf } from './raw-values.js';
import { NOT_ON_MONGOS, refused, requireAllowedFields } from './refusals.js';
import { type ClientConnection, type Handler, Request, type RouterParts } from './request.js';
import { Transactions } from './transactions.js';
import { latest } from './vector-clock.js';

const ENDS_TRANSACTION: readonly string[] = ['commitTransaction', 'abortTransaction'];

/** What a router is made of, and where it says what it does. */
export interface RouterOptions extends BackendOptions {
  readonly log: (line: string) => void;
  /** Logs every command and its outcome. */
  readonly verbose: boolean;
}

/** Carries out clients' commands. */
export class Router {
  readonly #parts: RouterParts;
  readonly #options: RouterOptions;

  private constructor(options: RouterOptions) {
    const backend = new Backend(options);
    this.#options = options;
    this.#parts = {
      backend,
      catalog: new Catalog(backend),
      cursors: new CursorStore(),
      transactions: new Transactions(backend),
      failCommand: new FailCommand(),
      counters: new Map(),
      startedAt: Date.now(),
    };
  }

  /** Reads the list of shards. Errors: as the backend's `call`. */
  static async start(options: RouterOptions): Promise<Router> {
    const router = new Router(options);
    await router.#parts.catalog.loadShards();
    return router;
  }

  close(): void {
    this.#parts.backend.close();
  }

  /** The answer to a client's message, of success or failure. Errors: {@link CutConnection}, by a fail point. */
  async answer(message: Message, client: ClientConnection): Promise<Doc> {
    const command = Command.of(message);
    const known = commandOf(command.name);
    const name = known?.name ?? command.name;
    let answer: Doc;
    try {
      answer = await this.#carryOut(command, client, known);
    } catch (error) {
      if (error instanceof CutConnection) throw error;
      answer = this.#failed(command, error);
      if (command.inTransaction && !ENDS_TRANSACTION.includes(name)) await this.#abort(command);
    }
    if (this.#options.verbose) this.#options.log(`${command.db} ${name}: ${outcomeOf(answer)}`);
    return this.#stamped(answer);
  }

  async #carryOut(
    command: Command,
    client: ClientConnection,
    known: { readonly name: string; readonly handler: Handler } | undefined,
  ): Promise<Doc> {
    const { backend } = this.#parts;
    // Signed by a key that is not ours to check: with access control only what servers say is believed.
    if (!backend.authenticated) backend.clock.hear(command.get('$clusterTime'));
    if (known === undefined) throw this.#unknown(command.name);
    if (backend.authenticated && !WITHOUT_LOGIN.has(known.name)) {
      if (!client.loggedIn) throw refused('notLoggedIn', { name: known.name });
      requirePrivileges(known.name, command, client.privileges);
    }
    if (backend.authenticated && command.get('mayBypassWriteBlocking') !== undefined) throw refused('mayNotBypass', {});
    requireAllowedFields(command);
    this.#count(known.name);
    const concernError = await this.#parts.failCommand.enter(known.name, command, client.appName);
    const request = this.#request(command, client, ENDS_TRANSACTION.includes(known.name));
    try {
      return withConcernError(await known.handler(request), concernError);
    } catch (error) {
      if (!(error instanceof DatabaseGone)) throw error;
      return withConcernError(await known.handler(request), concernError);
    }
  }

  #request(command: Command, client: ClientConnection, endsTransaction: boolean): Request {
    const readConcern = this.#oneTime(command);
    const timed = readConcern === undefined ? command : command.with({ readConcern });
    const transaction = endsTransaction ? undefined : this.#parts.transactions.of(timed);
    return new Request(this.#parts, client, { command: timed, transaction });
  }

  /** A snapshot is of one time on all shards. */
  #oneTime(command: Command): Doc | undefined {
    const readConcern = command.document('readConcern');
    const now = this.#parts.backend.clock.now;
    if (readConcern === undefined || now === undefined) return undefined;
    if (textOf(fieldOf(readConcern, 'level')) !== 'snapshot') return undefined;
    if (fieldOf(readConcern, 'atClusterTime') !== undefined) return undefined;
    const atClusterTime = latest([now, fieldOf(readConcern, 'afterClusterTime')]);
    return doc({ level: 'snapshot', atClusterTime });
  }

  /** What the table does not know is refused and told, never guessed. */
  #unknown(name: string): RouterError {
    if (!NOT_ON_MONGOS.has(name)) this.#options.log(`router double: refused the unknown command ${name}`);
    this.#count(`refused ${name}`);
    return refused('unknownCommand', { name });
  }

  #count(what: string): void {
    const { counters } = this.#parts;
    counters.set(what, (counters.get(what) ?? 0) + 1);
  }

  #failed(command: Command, error: unknown): Doc {
    const answer = this.#replyOf(error);
    const code = codeOf(answer);
    const isWrite = command.has('txnNumber') && !command.inTransaction;
    if (isWrite && !answer.has('errorLabels') && isRetryableWrite(code)) {
      answer.set('errorLabels', ['RetryableWriteError']);
    }
    return answer;
  }

  #replyOf(error: unknown): Doc {
    if (error instanceof ShardError) return doc(error.answer);
    if (error instanceof RouterError) return error.reply();
    const told = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log(`router double: a bug of its own: ${told}`);
    return new RouterError(8, 'UnknownError', `router double: ${String(error)}`).reply();
  }

  async #abort(command: Command): Promise<void> {
    try {
      await this.#parts.transactions.abort(command);
    } catch (error) {
      if (!(error instanceof RouterError)) throw error;
    }
  }

  #stamped(answer: Doc): Doc {
    const { clock } = this.#parts.backend;
    if (clock.clusterTime === undefined) return answer;
    const operationTime = answer.get('operationTime') ?? clock.now;
    return doc(answer, { $clusterTime: clock.clusterTime, operationTime });
  }
}

function codeOf(answer: Doc): number {
  const code: Encodable = answer.get('code');
  return (code === undefined ? undefined : numberOf(rawValue(code))) ?? 0;
}

function outcomeOf(answer: Doc): string {
  const message = answer.get('errmsg');
  return message === undefined ? 'ok' : `${codeOf(answer)} ${textOf(rawValue(message) as RawValue)}`;
}
