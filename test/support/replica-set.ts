/** Runs replica sets of real servers. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type Document, MongoClient, type MongoClientOptions } from 'mongodb';
import { HelloProbe, isPrimary, takesPart } from './hello-probe.js';
import { type Credentials, mongoUri } from './mongo-uri.js';
import { findMongod } from './mongod-binary.js';
import { LentMongod, type Mongod, MongodProcess } from './mongod-process.js';
import { mongodFlags, type ReplicaSetOptions } from './replica-set-options.js';
import { borrow, type Loan } from './set-loans.js';
import { makeTlsFiles, type TlsFiles } from './tls-files.js';
import { startWatchdog, type Watchdog } from './watchdog.js';
import { DeadlineError, eventually, within } from './within.js';

/** One server of a set, as it was when asked for. */
export interface Member {
  readonly index: number;
  /** `127.0.0.1:<port>` */
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  readonly running: boolean;
  readonly dbPath: string;
  readonly logPath: string;
}

const READY_MS = 60_000;
const CLOSE_MS = 3_000;

/**
 * A replica set of real servers on 127.0.0.1, for tests, benches and the demo.
 *
 * Servers and their folder are gone after {@link remove}, and also when this process ends or is killed before that:
 * a watchdog sees to it.
 */
export class ReplicaSet implements AsyncDisposable {
  readonly name: string;
  /** Version of the servers, e.g. `6.0.5`. */
  readonly version: string;
  readonly #options: ReplicaSetOptions;
  /** Undefined for a lent set. */
  readonly #folder: string | undefined;
  readonly #watchdog: Watchdog;
  readonly #tls: TlsFiles | undefined;
  readonly #mongods: Mongod[] = [];
  readonly #clients = new Set<MongoClient>();
  #announced: readonly string[] = [];
  #credentials: Credentials | undefined;
  #removal: Promise<void> | undefined;

  private constructor(
    options: ReplicaSetOptions,
    made: { folder: string | undefined; watchdog: Watchdog; tls: TlsFiles | undefined; version: string },
  ) {
    this.#options = options;
    this.name = options.name ?? 'rs';
    this.version = made.version;
    this.#folder = made.folder;
    this.#watchdog = made.watchdog;
    this.#tls = made.tls;
  }

  /**
   * Starts the servers and resolves once there is a primary and every other member is a secondary.
   *
   * Errors: MongodUnavailableError, MongodStartError (with the end of the server's log), DeadlineError; the signal's
   * reason once it aborts. Then nothing is left.
   */
  static async start(options: ReplicaSetOptions = {}): Promise<ReplicaSet> {
    const { signal } = options;
    const binary = await findMongod({ ...(options.version && { version: options.version }), signal });
    // Resolved, since macOS's folder for temporary files is a link and the watchdog compares paths.
    const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-rs-'));
    const watchdog = startWatchdog(folder);
    let set: ReplicaSet | undefined;
    try {
      const tls = options.tls ? await makeTlsFiles(path.join(folder, 'tls'), signal) : undefined;
      set = new ReplicaSet(options, { folder, watchdog, tls, version: binary.version });
      const flags = await mongodFlags(options, set.name, folder, tls);
      await set.#startMembers((name) => MongodProcess.start({ binary, folder, name, flags, signal }));
      await set.#initiate();
      return set;
    } catch (error) {
      await set?.remove();
      watchdog.release();
      throw error;
    }
  }

  /**
   * A set that somebody else keeps alive. {@link remove} closes the clients and gives it back; it cannot be killed nor
   * restarted.
   */
  static lent({ set: { name, version, members }, giveBack }: Loan): ReplicaSet {
    const set = new ReplicaSet(
      { name },
      { folder: undefined, watchdog: { release: giveBack }, tls: undefined, version },
    );
    set.#mongods.push(...members.map((member) => new LentMongod(member)));
    set.#announced = set.hosts;
    return set;
  }

  /** Connection string of the whole set, with credentials and TLS files where they are on. */
  get uri(): string {
    return mongoUri(this.#announced, { replicaSet: this.name }, { credentials: this.#credentials, tls: this.#tls });
  }

  /** `127.0.0.1:<port>` of each member. */
  get hosts(): readonly string[] {
    return this.#mongods.map((mongod) => mongod.host);
  }

  get members(): readonly Member[] {
    return this.#mongods.map((mongod, index) => ({
      index,
      host: mongod.host,
      port: mongod.port,
      pid: mongod.pid,
      running: mongod.running,
      dbPath: mongod.dbPath,
      logPath: mongod.logPath,
    }));
  }

  /** The root user's name; undefined without `auth`. */
  get username(): string | undefined {
    return this.#credentials?.username;
  }

  /** The root user's password; undefined without `auth`. */
  get password(): string | undefined {
    return this.#credentials?.password;
  }

  /** PEM file of the certificate authority; undefined without `tls`. */
  get caFile(): string | undefined {
    return this.#tls?.caFile;
  }

  /** PEM file with a client's certificate and key; undefined without `tls`. */
  get clientCertFile(): string | undefined {
    return this.#tls?.clientCertFile;
  }

  /** Connection string of one member alone (directConnection), with credentials and TLS files where they are on. */
  memberUri(member = 0): string {
    const access = { credentials: this.#credentials, tls: this.#tls };
    return mongoUri([this.#mongod(member).host], { directConnection: 'true' }, access);
  }

  /** Connects a client, which the set closes on {@link remove}; closing it earlier does no harm. */
  async connect(options: MongoClientOptions = {}): Promise<MongoClient> {
    const client = new MongoClient(this.uri, options);
    this.#clients.add(client);
    return await client.connect();
  }

  /** Ends a member by SIGKILL, as a crash would, and resolves once the process is gone. */
  async kill(member = 0): Promise<void> {
    await this.#mongod(member).kill();
  }

  /**
   * Starts a member again on its port and data, killing it first if it runs. Resolves once it is a primary or a
   * secondary again, with a set of one: the primary.
   */
  async restart(member = 0): Promise<void> {
    await this.kill(member);
    const mongod = this.#mongod(member);
    await mongod.run();
    const isBack = this.#mongods.length === 1 ? isPrimary : takesPart;
    const what = `member ${member} of ${this.name} back in the set`;
    await using probe = new HelloProbe(this.#tls);
    await eventually(READY_MS, async () => isBack(await probe.ask(mongod.host)), what);
  }

  /** Stops a member where it is (SIGSTOP): its connections stay open and nothing answers. */
  pauseProcess(member = 0): void {
    this.#mongod(member).pause();
  }

  /** Lets a paused member go on (SIGCONT). */
  continueProcess(member = 0): void {
    this.#mongod(member).resume();
  }

  /** The member that says it is primary, the one elected last if two do; undefined if none answers so. */
  async primary(): Promise<Member | undefined> {
    await using probe = new HelloProbe(this.#tls);
    return await this.#askForPrimary(probe);
  }

  /** Waits for a primary. Units: ms, default 60000. Errors: DeadlineError; the signal's reason once it aborts. */
  async waitForPrimary(ms = READY_MS, signal?: AbortSignal): Promise<Member> {
    await using probe = new HelloProbe(this.#tls);
    return await eventually(ms, () => this.#askForPrimary(probe), `a primary of ${this.name}`, { signal });
  }

  /**
   * Makes the primary step down and resolves with its successor, in a set of three another member, in a set of one
   * the same one, elected anew after a second.
   */
  async stepDown(): Promise<Member> {
    const before = await this.waitForPrimary();
    const alone = this.#mongods.length === 1;
    const command = alone
      ? { replSetStepDown: 1, secondaryCatchUpPeriodSecs: 0, force: true }
      : { replSetStepDown: 30, secondaryCatchUpPeriodSecs: 20 };
    const client = new MongoClient(this.memberUri(before.index));
    try {
      await client.db('admin').command(command);
    } finally {
      await client.close();
    }
    await using probe = new HelloProbe(this.#tls);
    const successor = async () => {
      const now = await this.#askForPrimary(probe);
      return now !== undefined && (alone || now.index !== before.index) ? now : undefined;
    };
    return await eventually(READY_MS, successor, `a successor of ${before.host}`);
  }

  /** Kills the servers, closes the clients and deletes the folder. May be called again. */
  async remove(): Promise<void> {
    this.#removal ??= this.#remove();
    await this.#removal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async #remove(): Promise<void> {
    try {
      await this.#closeClients();
      if (this.#folder === undefined) return;
      await Promise.all(this.#mongods.map((mongod) => mongod.kill()));
      await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    } finally {
      this.#watchdog.release();
    }
  }

  // While the servers live, paused ones set going: a client ends its sessions on closing, and looks for a server that
  // is gone for as long as its server selection may take.
  async #closeClients(): Promise<void> {
    for (const mongod of this.#mongods) {
      if (mongod.running) mongod.resume();
    }
    try {
      const closes = [...this.#clients].map((client) => client.close());
      await within(CLOSE_MS, Promise.all(closes), `closing the clients of ${this.name}`);
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
    }
  }

  async #startMembers(start: (name: string) => Promise<MongodProcess>): Promise<void> {
    const names = Array.from({ length: this.#options.members ?? 1 }, (_, index) => `member${index}`);
    const starts = await Promise.allSettled(names.map(start));
    for (const result of starts) {
      if (result.status === 'fulfilled') this.#mongods.push(result.value);
    }
    for (const result of starts) {
      if (result.status === 'rejected') throw result.reason;
    }
  }

  async #initiate(): Promise<void> {
    const { announce = async (host: string) => host, auth, electionTimeoutMs = 2_000, signal } = this.#options;
    this.#announced = await Promise.all(this.hosts.map(announce));
    const members = this.#announced.map((host, index) => ({ _id: index, host }));
    const settings = { electionTimeoutMillis: electionTimeoutMs, heartbeatIntervalMillis: electionTimeoutMs / 4 };
    const role = this.#options.clusterRole === 'configsvr' ? { configsvr: true } : {};
    await this.#adminCommand(0, { replSetInitiate: { _id: this.name, ...role, members, settings } });
    const primary = await this.waitForPrimary(READY_MS, signal);
    await using probe = new HelloProbe(this.#tls);
    const ready = async () => (await Promise.all(this.hosts.map((host) => probe.ask(host)))).every(takesPart);
    await eventually(READY_MS, ready, `all members of ${this.name} in the set`, { signal });
    if (auth) await this.#createRoot(primary.index);
  }

  // Without users a server lets one from localhost create the first.
  async #createRoot(primary: number): Promise<void> {
    const credentials = { username: 'root', password: randomBytes(12).toString('hex') };
    const user = { createUser: credentials.username, pwd: credentials.password, roles: ['root'] };
    await this.#adminCommand(primary, { ...user, writeConcern: { w: 'majority' } });
    this.#credentials = credentials;
  }

  async #adminCommand(member: number, command: Document): Promise<void> {
    const client = new MongoClient(this.memberUri(member));
    try {
      await client.db('admin').command(command);
    } finally {
      await client.close();
    }
  }

  async #askForPrimary(probe: HelloProbe): Promise<Member | undefined> {
    const running = this.members.filter((member) => member.running);
    const hellos = await Promise.all(running.map(async (member) => ({ member, hello: await probe.ask(member.host) })));
    const primaries = hellos.filter(({ hello }) => isPrimary(hello));
    primaries.sort((a, b) => String(b.hello?.electionId).localeCompare(String(a.hello?.electionId)));
    return primaries[0]?.member;
  }

  #mongod(member: number): Mongod {
    const mongod = this.#mongods[member];
    if (mongod === undefined) throw new RangeError(`${this.name} has no member ${member}`);
    return mongod;
  }
}

/** A source and a destination, as every migration test needs them. */
export interface ReplicaSetPair extends AsyncDisposable {
  readonly source: ReplicaSet;
  readonly destination: ReplicaSet;
}

/** Options of {@link startPair}: those of both sets, and what differs between them. */
export interface PairOptions extends ReplicaSetOptions {
  readonly source?: ReplicaSetOptions;
  readonly destination?: ReplicaSetOptions;
}

/** A set for a test: one that the runner lends where these options allow it, else a new one. */
export async function obtainSet(options: ReplicaSetOptions = {}): Promise<ReplicaSet> {
  const loan = await borrow(options);
  return loan === undefined ? await ReplicaSet.start(options) : ReplicaSet.lent(loan);
}

/**
 * Obtains two sets at once, named `source` and `destination` unless told otherwise; disposing of the pair removes both,
 * or gives them back. Errors: as {@link ReplicaSet.start}; then neither is left.
 */
export async function startPair(options: PairOptions = {}): Promise<ReplicaSetPair> {
  const { source, destination, ...both } = options;
  const starts = await Promise.allSettled([
    obtainSet({ name: 'source', ...both, ...source }),
    obtainSet({ name: 'destination', ...both, ...destination }),
  ]);
  const [first, second] = starts;
  if (first.status === 'fulfilled' && second.status === 'fulfilled') {
    const sets = [first.value, second.value] as const;
    return {
      source: sets[0],
      destination: sets[1],
      [Symbol.asyncDispose]: async () => {
        await Promise.all(sets.map((set) => set.remove()));
      },
    };
  }
  for (const start of starts) {
    if (start.status === 'fulfilled') await start.value.remove();
  }
  throw first.status === 'rejected' ? first.reason : second.status === 'rejected' ? second.reason : undefined;
}
