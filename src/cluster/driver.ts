/** Declares what the engine uses of the MongoDB driver's client, so that tests can put a double in its place. */
import { type ClientSession, type Db, MongoClient, type MongoClientOptions } from 'mongodb';
import type { Binary, Doc } from '../bson/bson.js';
import { settlesWithin } from '../lib/signals.js';
import { readWholeReplies } from './whole-replies.js';

/** A logical session of a client: one command of it at a time. */
export interface DriverSession {
  /** What the server knows it by. */
  readonly id: Binary;
  /** Gives it back to its client. */
  endSession(): Promise<void>;
}

/** A command that has left the process. */
export interface SentCommand {
  /** "host:port". */
  readonly address: string;
  /** The server's own number of the connection. */
  readonly connectionId: number;
  /** The server's process, as `topologyVersion` of its hello on that connection names it; undefined: not told. */
  readonly process: string | undefined;
  /** The session's id; undefined when it was sent outside of any. */
  readonly session: Binary | undefined;
}

/** How to send one command. */
export interface DriverCommandOptions {
  /** Gives up waiting for the answer; the command may be carried out all the same. */
  readonly signal?: AbortSignal;
  readonly session?: DriverSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly fieldsAsRaw?: Record<string, boolean>;
  /** Leaves the documents of the reply, such as its `cursor`, as raw BSON. */
  readonly rawCursor?: boolean;
}

/** A pool of connections to one deployment's primary. Errors are the driver's, also those of a double. */
export interface DriverClient {
  /** Commands that can be under way at the same time; further ones wait. */
  readonly maxPoolSize: number;
  /** "host:port" of the first server that the connection string names, if there is one. */
  readonly seed: string | undefined;
  connect(): Promise<void>;
  /** Never waits for a server that does not answer. */
  close(): Promise<void>;
  /** Runs one command on the primary, once; long integers of its reply are not made numbers. */
  command(db: string, command: Doc, options?: DriverCommandOptions): Promise<Doc>;
  /** Without causal consistency. `id`: goes on with another's session. */
  startSession(id?: Binary): DriverSession;
  /** Told of each command that leaves, where `tellsSent` was asked for; before its answer. */
  onSent(listener: (sent: SentCommand) => void): void;
  /** Told which server is primary ("host:port"), whenever what is known of the set changes and it has one. */
  onPrimary(listener: (address: string) => void): void;
}

/** How a client is to behave, beyond its connection string. */
export interface DriverClientOptions {
  readonly maxPoolSize: number;
  /** What servers know its connections by, besides the name that all of mongoferry's have. */
  readonly tag: string;
  /** Whether `onSent` is told. */
  readonly tellsSent: boolean;
  readonly settings: MongoClientOptions;
}

/** Makes a client; nothing is connected before `connect`. Errors: the driver's, of a connection string it does not take. */
export type MakeDriverClient = (uri: string, options: DriverClientOptions) => DriverClient;

/** The driver's own client. */
export const mongoDriverClient: MakeDriverClient = (uri, options) => new MongoDriverClient(uri, options);

class MongoDriverClient implements DriverClient {
  readonly maxPoolSize: number;
  readonly #client: MongoClient;
  readonly #databases = new Map<string, Db>();

  constructor(uri: string, { maxPoolSize, tag, tellsSent, settings }: DriverClientOptions) {
    const own = { maxPoolSize, driverInfo: { platform: tag }, monitorCommands: tellsSent };
    this.#client = new MongoClient(uri, { ...settings, ...own });
    this.maxPoolSize = maxPoolSize;
    lookAtPoolsSeldom(this.#client);
    readWholeReplies(this.#client);
  }

  get seed(): string | undefined {
    return this.#client.options.hosts[0]?.toString();
  }

  async connect(): Promise<void> {
    await this.#client.connect();
  }

  /**
   * The driver tells the server of the sessions that end, and waits for the answer with all its connections open: they
   * would hold up the end of the process. Of its internals only this one way to break that off; without it, it is
   * waited for.
   */
  async close(): Promise<void> {
    const closing = this.#client.close();
    if (await settlesWithin(closing, CLOSE_MS)) return closing;
    const { topology } = this.#client as unknown as { topology?: DriverTopology };
    topology?.closeCheckedOutConnections?.();
    topology?.close?.();
    return closing;
  }

  command(db: string, command: Doc, { session, rawCursor, ...options }: DriverCommandOptions = {}): Promise<Doc> {
    const inSession = session === undefined ? {} : { session: (session as MongoDriverSession).own };
    const isRaw = rawCursor === true ? { raw: true } : {};
    return this.#database(db).command(command, { ...options, ...inSession, ...isRaw, promoteLongs: false });
  }

  /** To make one anew for each command takes a twentieth of what many small collections cost. */
  #database(name: string): Db {
    const known = this.#databases.get(name);
    if (known !== undefined) return known;
    if (this.#databases.size >= MAX_DATABASES) this.#databases.clear();
    const made = this.#client.db(name);
    this.#databases.set(name, made);
    return made;
  }

  startSession(id?: Binary): DriverSession {
    const own = this.#client.startSession({ causalConsistency: false });
    // The driver has no way to begin a session with an id of another's.
    if (id !== undefined) (own.id as { id: Binary }).id = id;
    return new MongoDriverSession(own);
  }

  onSent(listener: (sent: SentCommand) => void): void {
    this.#client.on('commandStarted', ({ address, connectionId, serverConnectionId, command }) => {
      const { id } = (command['lsid'] ?? {}) as { id?: Binary };
      const process = this.#processAt(address, connectionId);
      listener({ address, connectionId: Number(serverConnectionId), process, session: id });
    });
  }

  /** The driver keeps what a connection's hello said, and tells nobody: of its internals, the connections in use. */
  #processAt(address: string, connection: unknown): string | undefined {
    const { topology } = this.#client as unknown as { topology?: DriverTopology };
    for (const { id, hello } of topology?.s?.servers?.get(address)?.pool?.checkedOutConnections ?? [])
      if (id === connection) return hello?.topologyVersion?.processId?.toString();
    return undefined;
  }

  onPrimary(listener: (address: string) => void): void {
    this.#client.on('topologyDescriptionChanged', ({ newDescription: { servers } }) => {
      const primary = [...servers.values()].find(({ type }) => type === 'RSPrimary');
      if (primary !== undefined) listener(primary.address);
    });
  }
}

/** There may be any number of them. */
const MAX_DATABASES = 100;
const POOL_LOOK_MS = 2000;

/**
 * The driver looks at each pool ten times a second, whether there are too few connections or idle ones to close: half
 * of what a process costs that has nothing to do. The option for it is internal; where it is not known it does nothing.
 * Pools that are to be filled beforehand are left as they are.
 */
function lookAtPoolsSeldom({ options }: MongoClient): void {
  if (options.minPoolSize === 0) Object.assign(options, { minPoolSizeCheckFrequencyMS: POOL_LOOK_MS });
}

class MongoDriverSession implements DriverSession {
  readonly own: ClientSession;

  constructor(own: ClientSession) {
    this.own = own;
  }

  get id(): Binary {
    return (this.own.id as { id: Binary }).id;
  }

  endSession(): Promise<void> {
    return this.own.endSession();
  }
}

const CLOSE_MS = 500;

interface DriverTopology {
  readonly s?: { readonly servers?: ReadonlyMap<string, { readonly pool?: DriverPool }> };
  closeCheckedOutConnections?(): void;
  close?(): void;
}

interface DriverPool {
  readonly checkedOutConnections?: Iterable<{
    readonly id: unknown;
    readonly hello?: { readonly topologyVersion?: { readonly processId?: { toString(): string } } } | null;
  }>;
}
