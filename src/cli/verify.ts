/** Runs `mongoferry verify`: compares two clusters without a migration. */
import { Violations } from '../api/violations.js';
import { readStartOptions } from '../api/wire/start-options.js';
import { type ClusterDifference, verifyClusters } from '../compare/verify-clusters.js';
import { loadConfig } from '../config/config.js';
import { AppError } from '../errors.js';
import { createLogger } from '../lib/logger.js';
import { type ResolvedOptions, resolveStartOptions } from '../start/options.js';
import { CliExit } from './exit-codes.js';
import type { Io } from './io.js';
import { START_FLAGS } from './start-flags.js';
import { startRequestOf } from './start-request.js';

/**
 * `verify`: compares two clusters without a migration, e.g. after another tool's; the options of `start` tell which part
 * of the source the destination is to hold. Differences are a JSON object per line
 * on standard output, progress and the outcome are on standard error. With `--follow` it compares and follows changes
 * until SIGINT or SIGTERM says that writes have stopped; a second signal ends it at once.
 * Exit codes: 0 equal, 1 not equal, 2 usage, 3 a cluster cannot be reached.
 */
export async function runVerify(values: Readonly<Record<string, unknown>>, io: Io): Promise<number> {
  const { follow, ...given } = values;
  const [wantedFlags, flags] = split(given);
  const config = loadConfig({ flags, env: io.env, readFile: io.readFile });
  const wanted = await readWanted(wantedFlags, io);
  const sink = { write: (line: string) => io.err(line) };
  const logger = createLogger({ level: 'WARN', mongosyncId: config.instanceId, sink });
  const stop = new AbortController();
  const stopped = follow === true ? whenToldToStop(io) : undefined;
  let differences = 0;
  const report = (difference: ClusterDifference): void => {
    differences++;
    io.out(`${JSON.stringify(difference)}\n`);
  };
  let shown = '';
  try {
    const { documents, collections } = await verifyClusters(
      {
        config,
        wanted,
        logger,
        writesStopped: stopped?.promise ?? Promise.resolve(),
        onProgress: ({ source, destination }) => {
          const line = `${source.phase}: ${source.hashedDocuments} and ${destination.hashedDocuments} of ${source.estimatedDocuments} documents\n`;
          if (line !== shown) io.err(line);
          shown = line;
        },
      },
      report,
      stop.signal,
    );
    const verdict = differences === 0 ? 'the clusters are equal' : `${differences} differences`;
    io.err(`${documents} documents of ${collections} collections compared: ${verdict}\n`);
    return differences === 0 ? CliExit.ok : CliExit.failed;
  } catch (error) {
    if (error instanceof AppError && error.code === 'ClusterUnreachable') {
      io.err(`mongoferry: ${error.message}\n`);
      return CliExit.unreachable;
    }
    throw error;
  } finally {
    stopped?.dispose();
    stop.abort(new AppError('ShuttingDown', 'the comparison has ended'));
  }
}

const WANTED: ReadonlySet<string> = new Set([...START_FLAGS.map(({ name }) => name), 'file', 'include', 'exclude']);

/** The flags that `start` has too, and the process's own. */
function split(values: Readonly<Record<string, unknown>>): [Record<string, unknown>, Record<string, unknown>] {
  const entries = Object.entries(values);
  return [
    Object.fromEntries(entries.filter(([name]) => WANTED.has(name))),
    Object.fromEntries(entries.filter(([name]) => !WANTED.has(name))),
  ];
}

/** What the destination is to hold. Errors: InvalidRequest. */
async function readWanted(values: Readonly<Record<string, unknown>>, io: Io): Promise<ResolvedOptions> {
  const violations = new Violations();
  const options = readStartOptions(await startRequestOf(values, io), '', violations);
  violations.throwIfAny();
  return resolveStartOptions(options);
}

/** Resolves at the first SIGINT or SIGTERM. The handlers are gone then, so that a second one ends the process. */
function whenToldToStop(io: Io): { readonly promise: Promise<void>; dispose(): void } {
  const names = ['SIGINT', 'SIGTERM'] as const;
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  const told = (): void => {
    dispose();
    io.err('writes have stopped: comparing what is left\n');
    resolve();
  };
  const dispose = (): void => {
    for (const name of names) process.removeListener(name, told);
  };
  for (const name of names) process.on(name, told);
  return { promise, dispose };
}
