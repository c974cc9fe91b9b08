/** Runs a migration inside the test's process. */
import { AppError } from '../../src/errors.js';
import { createLogger, type LogSink } from '../../src/lib/logger.js';
import { createMigration, type Migration, type MigrationHooks } from '../../src/migration/migration.js';
import type { MigrationConfig } from '../../src/migration/migration-process.js';
import type { Snapshot } from '../../src/progress/control.js';
import type { StartOptions } from '../../src/start/options.js';
import { eventually, within } from './within.js';

/** Start options as a caller that gives nothing but the direction. */
export const DEFAULT_START: StartOptions = {
  source: 'cluster0',
  destination: 'cluster1',
  includeNamespaces: [],
  excludeNamespaces: [],
  copyInNaturalOrder: [],
  namespaceRemap: [],
};

const STEP_MS = 60_000;

function textOf(ended: AppError | undefined | 'running'): string {
  return ended instanceof AppError ? `${ended.code}: ${ended.message}` : String(ended);
}

/** A migration running inside the test's process, so that a test can look at it between any two steps. */
export class MigrationHarness {
  readonly migration: Migration;
  readonly logLines: string[] = [];
  readonly #stop = new AbortController();
  readonly #ended: Promise<AppError | undefined>;

  private constructor(config: MigrationConfig, hooks: MigrationHooks) {
    const sink: LogSink = {
      write: (line) => {
        if (this.logLines.push(line) > 10_000) this.logLines.shift();
        if (process.env['FERRY_LOG'] !== undefined) process.stderr.write(line);
      },
    };
    const logger = createLogger({ level: 'DEBUG', mongosyncId: config.instanceId, sink });
    this.migration = createMigration(config, logger, hooks);
    this.#ended = this.migration.run(this.#stop.signal).then(
      () => undefined,
      (error: unknown) => AppError.from(error),
    );
  }

  /** Connects and waits until the migration has left INITIALIZING. */
  static async open(
    clusters: { source: { uri: string }; destination: { uri: string } },
    overrides: Partial<MigrationConfig> = {},
    hooks: MigrationHooks = {},
  ): Promise<MigrationHarness> {
    const config: MigrationConfig = {
      cluster0: clusters.source.uri,
      cluster1: clusters.destination.uri,
      instanceId: 'test',
      migrationName: undefined,
      loadLevel: 3,
      disableVerification: false,
      // As the server's own: any test can be run with them.
      workerThreads: Number(process.env['MONGOFERRY_WORKER_THREADS'] ?? 0),
      ...overrides,
    };
    const harness = new MigrationHarness(config, hooks);
    await harness.until((snapshot) => snapshot.state !== 'INITIALIZING', 'leaving INITIALIZING');
    return harness;
  }

  get snapshot(): Snapshot {
    return this.migration.snapshot();
  }

  /** Waits for a condition on the snapshot; fails at once when the migration has failed or ended. */
  async until(condition: (snapshot: Snapshot) => boolean, what: string, ms = STEP_MS): Promise<void> {
    let ended: AppError | undefined | 'running' = 'running';
    void this.#ended.then((error) => {
      ended = error;
    });
    await eventually(
      ms,
      () => {
        const { snapshot } = this;
        return condition(snapshot) || snapshot.failure !== undefined || ended !== 'running';
      },
      what,
    );
    const { snapshot } = this;
    if (condition(snapshot)) return;
    throw new Error(`${what}: the migration ended instead: ${snapshot.failure?.description ?? textOf(ended)}`);
  }

  /** Starts and waits until a commit would succeed. */
  async sync(options: Partial<StartOptions> = {}): Promise<void> {
    await this.migration.start({ ...DEFAULT_START, ...options });
    await this.until((snapshot) => snapshot.canCommit, 'canCommit');
  }

  /** Waits until everything written to the source before the call has been applied and a commit would succeed. */
  async caughtUp(): Promise<void> {
    await this.until((snapshot) => snapshot.canCommit, 'canCommit');
  }

  async commit(): Promise<void> {
    await this.caughtUp();
    await this.migration.commit();
    await this.until((snapshot) => snapshot.state === 'COMMITTED', 'COMMITTED');
  }

  /** Reverses, and waits until a commit in the other direction would succeed. */
  async reverse(): Promise<void> {
    await this.migration.reverse();
    await this.until(({ state, canCommit }) => state === 'RUNNING' && canCommit, 'canCommit after the reversal');
  }

  /** The error that ended the migration; waits for it. */
  async failure(): Promise<AppError> {
    const error = await within(STEP_MS, this.#ended, 'the migration ending');
    if (error === undefined) throw new Error('the migration ended without an error');
    return error;
  }

  /** Stops as SIGTERM does. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await within(STEP_MS, this.#ended, 'the migration stopping');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
