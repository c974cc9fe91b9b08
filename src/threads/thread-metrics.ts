/** Hands the metrics of a thread to the main thread, which counts them. */
import type { ThreadChannel } from '../lib/thread-channel.js';
import { forwardMetrics, type MetricRecord } from '../metrics.js';
import { METRICS } from './thread-calls.js';

const SEND_MS = 1000;
/** Values that wait; further ones are not counted, which only a thread that is never heard comes to. */
const MAX_RECORDS = 20_000;

/** Sends once a second, and when it is told to. */
export class ThreadMetrics {
  readonly #channel: ThreadChannel;
  readonly #signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  #records: MetricRecord[] = [];
  #sending: Promise<void> | undefined;

  /** `signal`: the thread's. */
  constructor(channel: ThreadChannel, signal: AbortSignal) {
    this.#channel = channel;
    this.#signal = signal;
    forwardMetrics((record) => {
      if (this.#records.length < MAX_RECORDS) this.#records.push(record);
    });
    this.#timer = setInterval(() => {
      if (this.#records.length > 0) this.#sending ??= this.#send();
    }, SEND_MS).unref();
  }

  /** Sends what there is, for the last time. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sending;
    await this.#send();
  }

  /** Never rejects: what cannot be sent has nowhere to go. */
  async #send(): Promise<void> {
    const records = this.#records;
    this.#records = [];
    try {
      if (records.length > 0) await this.#channel.call(METRICS, records, { signal: this.#signal, onAbort: 'leave' });
    } catch (error) {
      // The thread, or the main one, is ending.
      if (!(error instanceof Error)) throw error;
    } finally {
      this.#sending = undefined;
    }
  }
}
