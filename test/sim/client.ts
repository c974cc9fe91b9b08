/** A double of the driver's client: sends commands to a simulated set over a network that loses and delays them. */
import { Binary, Long } from 'mongodb';
import type {
  DriverClient,
  DriverClientOptions,
  DriverCommandOptions,
  DriverSession,
  MakeDriverClient,
  SentCommand,
} from '../../src/cluster/driver.js';
import type { Fate } from './chaos.js';
import { isWrite } from './commands.js';
import type { Connection, FakeDeployment } from './deployment.js';
import { Codes, networkError, selectionError, serverError } from './errors.js';
import { timestampOf } from './oplog.js';
import type { Answer, Doc, Request } from './request.js';
import type { Owner } from './world.js';

const SELECTION_MS = 5000;

/** The clients of one simulated process. */
export class FakeClients {
  /** Called with each command, before it leaves, after it has, and then if it comes late. */
  onCommand: (request: Request, moment: Moment) => void = () => undefined;
  readonly #owner: Owner;
  readonly #deployments: ReadonlyMap<string, FakeDeployment>;
  readonly #made: FakeClient[] = [];

  /** `deployments`: by connection string. */
  constructor(owner: Owner, deployments: ReadonlyMap<string, FakeDeployment>) {
    this.#owner = owner;
    this.#deployments = deployments;
  }

  /** For the engine's hooks. */
  readonly make: MakeDriverClient = (uri, options) => {
    const deployment = this.#deployments.get(uri);
    if (deployment === undefined) throw new TypeError(`no simulated set has the connection string ${uri}`);
    const client = new FakeClient(this.#owner, deployment, options, this.#watched);
    this.#made.push(client);
    return client;
  };

  readonly #watched: Watched = (request, fate, send) => {
    this.onCommand(request, 'before');
    if (this.#owner.isDead) return NEVER;
    const answering = send();
    this.onCommand(request, 'after');
    if (fate === 'late') this.onCommand(request, 'late');
    return answering;
  };

  /** Connections that no client has closed. */
  get open(): number {
    return this.#made.reduce((sum, { open }) => sum + open, 0);
  }

  /** The process is no more: what it has sent still arrives, nothing is answered. */
  vanish(): void {
    for (const client of this.#made) client.vanish();
  }
}

/** When a process may be killed. */
export type Moment = 'before' | 'after' | 'late';

/** Sends a command, unless its process is killed at it. */
type Watched = (request: Request, fate: Fate, send: () => Promise<Doc>) => Promise<Doc>;

/** The answer to what a process asks that is no more. */
const NEVER = new Promise<never>(() => undefined);

interface Sending {
  readonly request: Request;
  readonly fate: Fate;
  readonly address: string;
}

interface Call {
  readonly request: Request;
  readonly settle: (outcome: { readonly reply: Doc } | { readonly error: unknown }) => void;
  /** Whether nobody waits for the answer any more. */
  readonly isOver: () => boolean;
  readonly connection: Connection;
  readonly fate: Fate;
}

/** The client of one pool. */
export class FakeClient implements DriverClient {
  readonly maxPoolSize: number;
  readonly #owner: Owner;
  readonly #deployment: FakeDeployment;
  readonly #options: DriverClientOptions;
  readonly #watched: Watched;
  #idle: Connection[] = [];
  readonly #busy = new Set<Connection>();
  /** Of each command without an answer: what ends it. */
  readonly #calls = new Set<(error: Error) => void>();
  readonly #sentListeners: ((sent: SentCommand) => void)[] = [];
  readonly #primaryListeners: ((address: string) => void)[] = [];
  readonly #waiting = new Set<() => void>();
  /** Of each that waits for a primary: what ends it. */
  readonly #selecting = new Set<(error: Error) => void>();
  /** Who is primary, as far as this client has learned. */
  #primary: string | undefined;
  #forget: () => void = () => undefined;
  #isClosed = false;

  constructor(owner: Owner, deployment: FakeDeployment, options: DriverClientOptions, watched: Watched) {
    this.#watched = watched;
    this.#owner = owner;
    this.#deployment = deployment;
    this.#options = options;
    this.maxPoolSize = options.maxPoolSize;
  }

  get seed(): string | undefined {
    return this.#deployment.hosts[0];
  }

  async connect(): Promise<void> {
    const { world } = this.#deployment;
    this.#forget = this.#deployment.onPrimary((address) => {
      // Heard of by each client by itself, a while after.
      const ms = this.#deployment.random.next() * this.#deployment.discoveryMs;
      world.after(ms, () => this.#learn(address), this.#owner).unref();
    });
    this.#learn(this.#deployment.primary);
    if (this.#primary === undefined) await this.#selected();
  }

  async close(): Promise<void> {
    this.vanish();
    for (const fail of [...this.#calls, ...this.#selecting]) fail(networkError('the client is closed'));
  }

  get open(): number {
    return this.#idle.length + this.#busy.size;
  }

  vanish(): void {
    this.#isClosed = true;
    this.#forget();
    for (const connection of [...this.#idle, ...this.#busy]) this.#deployment.abandon(connection);
    this.#idle = [];
    this.#busy.clear();
  }

  startSession(id?: Binary): DriverSession {
    return { id: id ?? this.#newSession(), endSession: () => Promise.resolve() };
  }

  #newSession(): Binary {
    return new Binary(this.#deployment.state.uuid(), Binary.SUBTYPE_UUID);
  }

  onSent(listener: (sent: SentCommand) => void): void {
    this.#sentListeners.push(listener);
  }

  onPrimary(listener: (address: string) => void): void {
    this.#primaryListeners.push(listener);
  }

  async command(db: string, command: Doc, options: DriverCommandOptions = {}): Promise<Doc> {
    options.signal?.throwIfAborted();
    if (this.#isClosed) throw networkError('the client is closed');
    const address = this.#primary ?? (await this.#selected(options.signal));
    const [name = ''] = Object.keys(command);
    const request: Request = {
      db,
      command,
      name,
      target: String(name === 'getMore' ? command['collection'] : command[name]),
      session: options.session?.id.toString('hex'),
      raw: options.fieldsAsRaw ?? {},
      rawCursor: options.rawCursor,
    };
    const fate = this.#deployment.chaos.fate(request, isWrite(name));
    return this.#watched(request, fate, () => this.#send({ request, fate, address }, options.signal));
  }

  #send({ request, fate, address }: Sending, signal: AbortSignal | undefined): Promise<Doc> {
    const connection = this.#idle.pop() ?? this.#deployment.connect(this.#options.tag);
    this.#busy.add(connection);
    const sent = { address, process: undefined, connectionId: connection.id, session: sessionOf(request) };
    for (const listen of this.#sentListeners) listen(sent);
    return new Promise((resolve, reject) => {
      let isOver = false;
      const onAbort = (): void => settle({ error: signal?.reason });
      const fail = (error: Error): void => settle({ error });
      this.#calls.add(fail);
      const settle: Call['settle'] = (outcome) => {
        if (isOver) return;
        isOver = true;
        signal?.removeEventListener('abort', onAbort);
        this.#busy.delete(connection);
        this.#calls.delete(fail);
        const isAnswered = 'reply' in outcome || isAnswer(outcome.error);
        if (isAnswered && !this.#isClosed) this.#idle.push(connection);
        else this.#deployment.abandon(connection);
        if ('reply' in outcome) resolve(outcome.reply);
        else reject(outcome.error as Error);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#travel({ request, settle, isOver: () => isOver, connection, fate }, address);
    });
  }

  #travel(call: Call, address: string): void {
    const { world, chaos, owner, random } = this.#deployment;
    const { connection, request, fate } = call;
    if (fate === 'requestLost') {
      const lose = (): void => call.settle({ error: networkError('connection reset') });
      world.after(chaos.wayMs(), lose, this.#owner).unref();
      return;
    }
    if (fate === 'late') {
      connection.onTheWay++;
      world.after(chaos.wayMs(), () => call.settle({ error: networkError('connection reset') }), this.#owner).unref();
      const [from, to] = random.pick(chaos.levels.lateMs);
      world.after(from + random.int(to - from), () => void this.#arrive(call, address), owner);
      return;
    }
    if (fate === 'interrupted') {
      const interrupt = (): void => {
        const code = random.pick([Codes.Interrupted, Codes.InterruptedDueToReplStateChange, 91, 262]);
        call.settle({ error: serverError(code, `${request.name} was interrupted`) });
      };
      world.after(chaos.wayMs(), interrupt, this.#owner).unref();
      return;
    }
    connection.onTheWay++;
    world.after(chaos.wayMs(), () => void this.#arrive(call, address), owner);
  }

  async #arrive(call: Call, address: string): Promise<void> {
    let outcome: { readonly answer: Answer } | { readonly error: unknown };
    try {
      outcome = { answer: await this.#deployment.deliver(call.connection, call.request, address) };
    } catch (error) {
      outcome = { error };
    }
    const { world, chaos, state, random } = this.#deployment;
    const deliver = (): void => {
      if ('error' in outcome) call.settle({ error: this.#known(outcome.error, address) });
      else if (call.fate === 'writeConcern')
        call.settle({ error: writeConcernError(random.pick([64, 91, 189, 11602])) });
      else {
        const { reply, time } = outcome.answer;
        call.settle({ reply: { ...reply, operationTime: timestampOf(time ?? state.oplog.lastTime) } });
      }
    };
    if (call.fate === 'answerLost')
      world.after(chaos.wayMs(), () => call.settle({ error: networkError('connection reset') }), this.#owner).unref();
    else if (!call.isOver()) world.after(chaos.wayMs(), deliver, this.#owner).unref();
  }

  /** A server that says it is primary no longer is not asked again. */
  #known(error: unknown, address: string): unknown {
    const code = (error as { code?: unknown }).code;
    if (code === Codes.NotWritablePrimary && this.#primary === address && this.#deployment.primary !== address)
      this.#learn(undefined);
    return error;
  }

  #learn(address: string | undefined): void {
    if (address !== undefined && address !== this.#deployment.primary && address !== this.#deployment.stalePrimary)
      return;
    const isNew = address !== this.#primary;
    this.#primary = address;
    if (!isNew) return;
    // The pool is cleared: connections are those of one server.
    for (const connection of this.#idle) this.#deployment.abandon(connection);
    this.#idle = [];
    if (address === undefined) return;
    for (const go of [...this.#waiting]) go();
    for (const listen of this.#primaryListeners) listen(address);
  }

  /** Waits for a primary. Errors: that of the driver when there is none in time; the signal's reason. */
  #selected(signal?: AbortSignal): Promise<string> {
    const { world } = this.#deployment;
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        end();
        reject(error);
      };
      const end = (): void => {
        this.#selecting.delete(fail);
        this.#waiting.delete(go);
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
      };
      const go = (): void => {
        if (this.#primary === undefined) return;
        end();
        resolve(this.#primary);
      };
      const onAbort = (): void => fail(signal?.reason as Error);
      const timer = world.after(SELECTION_MS, () =>
        fail(selectionError(`no primary of ${this.#deployment.name} was found in time`)),
      );
      this.#selecting.add(fail);
      this.#waiting.add(go);
      signal?.addEventListener('abort', onAbort, { once: true });
      // Between two heartbeats nothing is learned; a client that waits asks at once.
      if (this.#deployment.primary !== undefined)
        world.after(this.#deployment.random.next() * 100, () => this.#learn(this.#deployment.primary));
    });
  }
}

function sessionOf({ session }: Request): Binary | undefined {
  return session === undefined ? undefined : Binary.createFromHexString(session, Binary.SUBTYPE_UUID);
}

function isAnswer(error: unknown): boolean {
  return error instanceof Error && 'errorResponse' in error;
}

function writeConcernError(code: number): Error {
  const error = serverError(code, 'the write concern could not be satisfied');
  Object.defineProperty(error, 'name', { value: 'MongoWriteConcernError' });
  return error;
}

/** A number that a reply holds as a long. */
export function long(value: number): Long {
  return Long.fromNumber(value);
}
