/** Runs one router of a sharded cluster: the router double, or the mongos that `$MONGOS` names. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './mongod-process.js';
import { eventually } from './within.js';

const START_MS = 30_000;
const PORT_TRIES = 10;
const LOG_TAIL = 3000;

/** Path of a real mongos; undefined where the router double stands for it. */
export const MONGOS = process.env.MONGOS || undefined;

/** What tests go through, for their names: `the router double`, or `mongos`. */
export const ROUTER = MONGOS === undefined ? 'the router double' : 'mongos';

/** What a router is started with. */
export interface RouterProcessOptions {
  /** Folder for log and pid file, which a watchdog removes. */
  readonly folder: string;
  readonly name: string;
  /** `set/host:port` of the config servers. */
  readonly configdb: string;
  /** Key file of the cluster; undefined without access control. */
  readonly keyFile: string | undefined;
  /** How long a shard without a primary is waited for. Default: the double does not wait, a mongos 15 s. */
  readonly hostWaitMs?: number | undefined;
}

/** A router that ended or hung before it took connections; the message holds the end of its log. */
export class RouterStartError extends Error {
  override readonly name = 'RouterStartError';
}

/** One router on 127.0.0.1, which can be killed and started again on the same port. */
export class RouterProcess {
  readonly port: number;
  readonly #options: RouterProcessOptions;
  #child: ChildProcess | undefined;

  private constructor(port: number, options: RouterProcessOptions) {
    this.port = port;
    this.#options = options;
  }

  /** Starts a router on a free port and resolves once it takes connections. Errors: {@link RouterStartError}. */
  static async start(options: RouterProcessOptions): Promise<RouterProcess> {
    for (let tries = 1; ; tries += 1) {
      const router = new RouterProcess(await freePort(), options);
      try {
        await router.run();
        return router;
      } catch (error) {
        const taken = error instanceof RouterStartError && error.message.includes('Address already in use');
        if (!taken || tries === PORT_TRIES) throw error;
      }
    }
  }

  /** `127.0.0.1:<port>` */
  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  get logPath(): string {
    return path.join(this.#options.folder, `${this.#options.name}.log`);
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Starts it, again after {@link kill}. Errors: {@link RouterStartError}. */
  async run(): Promise<void> {
    const from = await sizeOf(this.logPath);
    const child = await this.#spawn();
    const settled = async () =>
      child.exitCode !== null || child.signalCode !== null || (await this.#logFrom(from)).includes('Waiting for conn');
    try {
      await eventually(START_MS, settled, `start of the router ${this.host}`);
    } catch (error) {
      await this.kill();
      throw error;
    }
    if (this.running) return;
    const end = (await this.#logFrom(from)).slice(-LOG_TAIL);
    throw new RouterStartError(`the router ${this.host} ended; end of its log:\n${end}`);
  }

  /** Ends it by SIGKILL; its cursors and what it knows of chunks are gone. Does nothing if it does not run. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.ref();
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async #spawn(): Promise<ChildProcess> {
    const { folder, name } = this.#options;
    const pidPath = path.join(folder, `${name}.pid`);
    // The shell notes its pid before it becomes the router, for the watchdog.
    const args = ['-c', 'echo $$ >"$0" && exec "$@"', pidPath, ...this.#commandLine()];
    const log = await open(this.logPath, 'a');
    try {
      const child = spawn('/bin/sh', args, { stdio: ['ignore', log.fd, log.fd] });
      child.once('spawn', () => {
        this.#child = child;
      });
      child.once('exit', () => {
        this.#child = undefined;
      });
      await once(child, 'spawn');
      child.unref();
      return child;
    } finally {
      await log.close();
    }
  }

  #commandLine(): string[] {
    const { folder, name, configdb, keyFile, hostWaitMs } = this.#options;
    const common = ['--configdb', configdb, '--port', String(this.port)];
    if (keyFile !== undefined) common.push('--keyFile', keyFile);
    if (MONGOS !== undefined) {
      const tests = ['--setParameter', 'enableTestCommands=1'];
      if (hostWaitMs !== undefined) tests.push('--setParameter', `defaultFindReplicaSetHostTimeoutMS=${hostWaitMs}`);
      const own = [
        ...tests,
        '--bind_ip',
        '127.0.0.1',
        '--nounixsocket',
        '--pidfilepath',
        path.join(folder, `${name}.own-pid`),
      ];
      return [MONGOS, ...common, ...own];
    }
    if (hostWaitMs !== undefined) common.push('--hostWait', String(hostWaitMs));
    const main = fileURLToPath(new URL('./router/main.js', import.meta.url));
    return [process.execPath, '--enable-source-maps', main, ...common, '--folder', folder, ...verbosity()];
  }

  async #logFrom(start: number): Promise<string> {
    return (await readFile(this.logPath)).subarray(start).toString();
  }
}

/** `MONGOFERRY_TEST_ROUTER_VERBOSE=1` has the router double log every command. */
function verbosity(): string[] {
  return process.env.MONGOFERRY_TEST_ROUTER_VERBOSE ? ['--verbose'] : [];
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}
