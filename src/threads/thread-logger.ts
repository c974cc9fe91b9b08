/** Hands the log lines of a thread to the thread that has started it. */
import { toLoggable } from '../lib/log-value.js';
import type { LogFields, Logger } from '../lib/logger.js';
import type { ThreadChannel } from '../lib/thread-channel.js';
import { LOG, type ThreadLogLine } from './thread-calls.js';

/** Lines that wait; further ones are counted, not kept. */
const MAX_LINES = 200;

/** Sends its lines one batch at a time, so that a thread that logs much does not get ahead of the log. */
export class ThreadLogger implements Logger {
  readonly #channel: ThreadChannel;
  readonly #signal: AbortSignal;
  #lines: ThreadLogLine[] = [];
  #leftOut = 0;
  #isSending = false;

  /** `signal`: the thread's. */
  constructor(channel: ThreadChannel, signal: AbortSignal) {
    this.#channel = channel;
    this.#signal = signal;
  }

  trace(): void {
    // Never sent: nothing here writes any.
  }

  debug(message: string, fields?: LogFields): void {
    this.#add('debug', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#add('info', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#add('warn', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#add('error', message, fields);
  }

  fatal(message: string, fields?: LogFields): void {
    this.#add('error', message, fields);
  }

  component(): Logger {
    // The other thread's logger is of the component that has started this one.
    return this;
  }

  #add(level: ThreadLogLine['level'], message: string, fields: LogFields = {}): void {
    if (this.#lines.length >= MAX_LINES) {
      this.#leftOut++;
      return;
    }
    const plain = Object.entries(fields).map(([name, value]) => [name, toLoggable(name, value)]);
    this.#lines.push({ level, message, fields: JSON.parse(JSON.stringify(Object.fromEntries(plain))) });
    if (!this.#isSending) void this.#sendAll();
  }

  /** Never rejects: what cannot be sent has nowhere to go. */
  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      while (this.#lines.length > 0) {
        const lines = this.#lines;
        this.#lines = [];
        if (this.#leftOut > 0)
          lines.push({ level: 'warn', message: `${this.#leftOut} lines of this thread's were left out`, fields: {} });
        this.#leftOut = 0;
        await this.#channel.call(LOG, lines, { signal: this.#signal, onAbort: 'leave' });
      }
    } catch (error) {
      // The thread, or the one that it logs to, is ending.
      if (!(error instanceof Error)) throw error;
    } finally {
      this.#isSending = false;
    }
  }
}
