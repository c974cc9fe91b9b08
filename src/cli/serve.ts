/** Runs the server until a signal, or until its migration cannot go on. */
import { loadConfig } from '../config/config.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { onStop } from '../lib/process-signals.js';
import { buildService } from '../service.js';
import type { Io } from './io.js';

/** What a supervisor is told to wait before it kills (docs/operations.md). */
const STOP_WITHIN_MS = 10_000;

/**
 * Runs the server until SIGTERM or SIGINT, or until its migration cannot go on; resolves with the exit code.
 * Errors: InvalidRequest for a configuration that is not valid.
 */
export async function runServe(flags: Readonly<Record<string, unknown>>, io: Io): Promise<number> {
  const config = loadConfig({ flags, env: io.env, readFile: io.readFile });
  const service = buildService(config);
  const stop = stopOnSignals(service.logger);
  try {
    return await service.run(stop.signal);
  } finally {
    stop.dispose();
    endBefore(STOP_WITHIN_MS, service.logger);
  }
}

/**
 * The process's one AbortController. The first signal aborts it; the handlers are gone then, so that a second one ends
 * the process at once, as it would without us.
 */
function stopOnSignals(logger: Logger): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const dispose = onStop((name) => {
    logger.info(`stopping on ${name}; a second signal ends the process at once`);
    endBefore(STOP_WITHIN_MS, logger);
    controller.abort(new AppError('ShuttingDown', `the process is stopping on ${name}`));
  });
  return { signal: controller.signal, dispose };
}

/** If something still holds the process by then, a supervisor's kill would be next; this way there is a log line. */
function endBefore(ms: number, logger: Logger): void {
  const timer = setTimeout(() => {
    logger.fatal(`a part of the process did not stop within ${ms / 1000} s; the process ends itself`);
    process.kill(process.pid, 'SIGTERM');
  }, ms);
  timer.unref();
}
