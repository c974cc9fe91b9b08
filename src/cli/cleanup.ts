/** `cleanup`: drops what a committed migration has stored, once the operator has said so. */
import { loadConfig } from '../config/config.js';
import { AppError, invalidRequest } from '../errors.js';
import { createLogger } from '../lib/logger.js';
import { cleanUp } from '../migration/cleanup.js';
import { CliExit } from './exit-codes.js';
import type { Io } from './io.js';
import { reportError } from './report.js';

/**
 * Asks on a terminal, and wants `--yes` elsewhere. Exit codes: 0 dropped, 1 refused or answered with no, 2 usage, 3 a
 * cluster cannot be reached.
 */
export async function runCleanup(values: Readonly<Record<string, unknown>>, io: Io): Promise<number> {
  const { yes, ...flags } = values;
  const config = loadConfig({ flags, env: io.env, readFile: io.readFile });
  const { ask } = io;
  if (yes !== true && ask === undefined)
    throw invalidRequest([
      { field: 'yes', description: 'is required here, because there is no terminal to ask for confirmation' },
    ]);
  const sink = { write: (line: string) => io.err(line) };
  const logger = createLogger({ level: 'WARN', mongosyncId: config.instanceId, sink });
  const confirm = async (what: string): Promise<boolean> => {
    if (yes === true || ask === undefined) return true;
    const answer = await ask(`This drops ${what}. The migration cannot be reversed afterwards. Go on? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  };
  const stop = new AbortController();
  try {
    const dropped = await cleanUp({ config, logger, confirm }, stop.signal);
    io.out(dropped.length === 0 ? 'nothing was dropped\n' : `dropped ${dropped.join(' and ')}\n`);
    return dropped.length === 0 ? CliExit.failed : CliExit.ok;
  } catch (error) {
    const exit = reportError(error, io, 'text');
    return error instanceof AppError && error.code === 'ClusterUnreachable' ? CliExit.unreachable : exit;
  } finally {
    stop.abort(new AppError('ShuttingDown', 'the clean-up has ended'));
  }
}
