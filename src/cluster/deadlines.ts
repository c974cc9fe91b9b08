/** Gives up commands that nobody will answer any more: their primary is no longer one, or they take too long. */
import { setMaxListeners } from 'node:events';
import { AppError } from '../errors.js';
import { linkAbort } from '../lib/signals.js';
import type { DriverClient } from './driver.js';
import { TransientError } from './errors.js';

/** How long a command may take. */
export interface CommandLimits {
  /** Milliseconds, for one that is short; left out: as long as its server is primary. */
  readonly limitMs?: number;
  /** Ends it at once. */
  readonly signal?: AbortSignal;
}

/**
 * A host that vanishes closes no connection: a command under way there would wait for the kernel's keepalive, many
 * minutes. The driver learns of the new primary from the other members within seconds, but lets the command wait. So all
 * commands are given up when another server becomes primary, and short ones after a time.
 */
export class Deadlines {
  #primary: string | undefined;
  #term = newTerm();

  constructor(client: Pick<DriverClient, 'onPrimary'>) {
    client.onPrimary((address) => this.#see(address));
  }

  /**
   * Runs a command, which takes the signal. Errors: its own; TransientError when it is given up, and it may be carried
   * out all the same; the reason of the limits' signal.
   */
  async within<T>(name: string, limits: CommandLimits, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { limitMs, signal } = limits;
    using link = linkAbort(this.#term.signal, signal);
    const timer =
      limitMs === undefined
        ? undefined
        : setTimeout(() => link.abort(givenUp(`${name} was not answered within ${limitMs / 1000} s`)), limitMs);
    try {
      return await run(link.signal);
    } catch (error) {
      throw link.signal.aborted && error === link.signal.reason ? ownError(error) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #see(primary: string): void {
    if (primary === this.#primary) return;
    const before = this.#primary;
    this.#primary = primary;
    if (before === undefined) return;
    const ended = this.#term;
    this.#term = newTerm();
    ended.abort(givenUp(`${before} is no longer primary; ${primary} is`));
  }
}

/** One reason may end any number of commands, and what is remembered of the error of one is not true of the others. */
function ownError(reason: unknown): unknown {
  if (!(reason instanceof Error)) return reason;
  const { message } = reason;
  if (reason instanceof AppError) return new AppError(reason.code, message, { cause: reason });
  return reason instanceof TransientError
    ? new TransientError(message, { cause: reason })
    : new Error(message, { cause: reason });
}

/** Any number of commands listen to it at the same time. */
function newTerm(): AbortController {
  const term = new AbortController();
  setMaxListeners(0, term.signal);
  return term;
}

function givenUp(text: string): TransientError {
  return new TransientError(text);
}
