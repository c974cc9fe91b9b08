/** A process of the program in a simulation: the engine as it is, on simulated connections and time. */
import { isIgnored } from '../../src/catalog/namespace.js';
import { AppError } from '../../src/errors.js';
import { createLogger, type Logger } from '../../src/lib/logger.js';
import { createMigration, type Migration } from '../../src/migration/migration.js';
import { FakeClients, type Moment } from './client.js';
import { isWrite } from './commands.js';
import type { FakeDeployment } from './deployment.js';
import type { Plan } from './plan.js';
import type { Request } from './request.js';
import { Owner, type World } from './world.js';

/** Whether a process runs, or how it has ended. */
export type ProcessEnd = 'running' | 'stopped' | 'killed' | AppError;

/** What a simulated process is made of. */
export interface ProcessParts {
  readonly world: World;
  readonly name: string;
  readonly cluster0: FakeDeployment;
  readonly cluster1: FakeDeployment;
  readonly loadLevel: number;
  readonly disableVerification: boolean;
  /** Takes the program's log lines; undefined: they are not made. */
  readonly log: ((line: string) => void) | undefined;
}

/** One process, from its start to its end, however that comes. */
export class SimulatedProcess {
  readonly owner: Owner;
  readonly migration: Migration;
  readonly #parts: ProcessParts;
  readonly #clients: FakeClients;
  readonly #stop = new AbortController();
  #end: ProcessEnd = 'running';

  constructor(parts: ProcessParts) {
    const { world, name, cluster0, cluster1, loadLevel, disableVerification, log } = parts;
    this.#parts = parts;
    this.owner = new Owner(name);
    const deployments = new Map([
      ['mongodb://cluster0', cluster0],
      ['mongodb://cluster1', cluster1],
    ]);
    this.#clients = new FakeClients(this.owner, deployments);
    const config = {
      cluster0: 'mongodb://cluster0',
      cluster1: 'mongodb://cluster1',
      instanceId: name,
      migrationName: undefined,
      loadLevel,
      disableVerification,
    };
    this.migration = createMigration(config, loggerTo(name, log), { makeClient: this.#clients.make });
    world.after(0, () => this.#run(), this.owner);
  }

  get end(): ProcessEnd {
    return this.#end;
  }

  get isRunning(): boolean {
    return this.#end === 'running';
  }

  /** Connections and timers that are still its own. */
  get leftovers(): readonly string[] {
    const pending = this.#parts.world.pendingOf(this.owner);
    return [
      ...(this.#clients.open > 0 ? [`${this.#clients.open} open connections`] : []),
      ...pending.map((origin) => `a timer${origin}`),
    ];
  }

  /** Has it killed at its command of that number among those of a kind: before it leaves, after, or as one comes late. */
  killAt(number: number, kind: Plan['killedAt'], moment: Moment): void {
    let seen = 0;
    this.#clients.onCommand = (request, now) => {
      if (now === moment && isOfKind(request, kind) && ++seen === number) this.kill();
    };
  }

  /** Has `work` done by this process. */
  do(work: () => void): void {
    this.#parts.world.after(0, work, this.owner).unref();
  }

  /** As SIGTERM does. */
  stop(): void {
    this.do(() => this.#stop.abort());
  }

  /** As SIGKILL does: nothing of it happens any more. */
  kill(): void {
    if (this.#end !== 'running') return;
    this.#end = 'killed';
    this.owner.isDead = true;
    this.#clients.vanish();
  }

  /** As SIGSTOP for so many milliseconds; what is stalled already is so at least as long. */
  stall(ms: number): void {
    const { owner } = this;
    owner.stalledUntilMs = Math.max(owner.stalledUntilMs, this.#parts.world.nowMs + ms);
  }

  #run(): void {
    this.migration.run(this.#stop.signal).then(
      () => {
        this.#end = 'stopped';
      },
      (error: unknown) => {
        this.#end = AppError.from(error);
      },
    );
  }
}

function isOfKind({ name, db, target }: Request, kind: Plan['killedAt']): boolean {
  if (kind === 'any') return true;
  const isNamespace = !isIgnored({ db, coll: target });
  const isDocuments = name === 'insert' || name === 'update' || name === 'delete';
  if (kind === 'documents') return isDocuments && isNamespace;
  // The log of the structural changes is written around each of them.
  return isDocuments ? target === 'ddl' : isWrite(name) && name !== 'appendOplogNote';
}

function loggerTo(name: string, log: ((line: string) => void) | undefined): Logger {
  const level = log === undefined ? 'PANIC' : 'DEBUG';
  const sink = { write: (line: string) => log?.(line) };
  return createLogger({ level, mongosyncId: name, serverId: '00000000', sink });
}
