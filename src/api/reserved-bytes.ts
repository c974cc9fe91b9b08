/** Bounds the bytes that all callers together make the server hold. */
import { AppError } from '../errors.js';

/** What each holder may have whatever the others do, so that ordinary calls are never locked out. */
const FREE_BYTES = 64 * 1024;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** For an answer that there is no room for. */
export function serverBusy(): AppError {
  return new AppError('ServerBusy', 'the server already holds as much data for its callers as it may; try again');
}

/** Bytes held for one call: of its request, or of an answer that its reader has not taken. */
export interface Holder extends Disposable {
  add(bytes: number): void;
  remove(bytes: number): void;
  /** Whether more may be taken in for it now. */
  readonly hasRoom: boolean;
  /** Resolves once more may be taken in for it, or it is disposed of. */
  room(): Promise<void>;
}

/**
 * The one budget of bytes for all that callers make us hold: bodies that arrive, and answers that nobody takes. Who is
 * beyond it has to wait: a stream is paused, and the sender with it. The one that has held the longest always goes on,
 * so that they cannot all wait for each other. So at most the budget, one request more and a little for each call is held.
 */
export class ReservedBytes {
  readonly #maxBytes: number;
  /** In the order in which they came. */
  readonly #holders = new Set<OneHolder>();
  readonly #waiting = new Map<OneHolder, () => void>();
  readonly #answers = new Set<{ readonly bytes: number; readonly resolve: () => void }>();
  #bytes = 0;

  constructor(maxBytes = DEFAULT_MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there is room for an answer of this many bytes. */
  fits(bytes: number): boolean {
    return bytes <= FREE_BYTES || this.#bytes + bytes <= this.#maxBytes;
  }

  /** Resolves once there is room for an answer of this many bytes, at once for a small one; or when `signal` aborts. */
  roomFor(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.fits(bytes) || this.#bytes === 0 || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const leave = (): void => {
        signal.removeEventListener('abort', leave);
        this.#answers.delete(answer);
        resolve();
      };
      const answer = { bytes, resolve: leave };
      signal.addEventListener('abort', leave, { once: true });
      this.#answers.add(answer);
    });
  }

  /** A holder of nothing yet; to be disposed of. */
  open(): Holder {
    const holder = new OneHolder({
      change: (bytes) => {
        this.#bytes += bytes;
        if (bytes < 0) this.#wake();
      },
      hasRoom: (one) => this.#hasRoom(one),
      room: (one) => this.#room(one),
      close: (one) => {
        this.#holders.delete(one);
        this.#waiting.get(one)?.();
        this.#wake();
      },
    });
    return holder;
  }

  #hasRoom(holder: OneHolder): boolean {
    if (holder.bytes <= FREE_BYTES) return true;
    this.#holders.add(holder);
    const [oldest] = this.#holders;
    return this.#bytes <= this.#maxBytes || oldest === holder;
  }

  #room(holder: OneHolder): Promise<void> {
    if (this.#hasRoom(holder)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.set(holder, () => {
        this.#waiting.delete(holder);
        resolve();
      });
    });
  }

  #wake(): void {
    for (const [holder, proceed] of [...this.#waiting]) if (this.#hasRoom(holder)) proceed();
    for (const answer of [...this.#answers]) {
      if (!this.fits(answer.bytes) && this.#bytes > 0) continue;
      answer.resolve();
    }
  }
}

interface Account {
  readonly change: (bytes: number) => void;
  readonly hasRoom: (holder: OneHolder) => boolean;
  readonly room: (holder: OneHolder) => Promise<void>;
  readonly close: (holder: OneHolder) => void;
}

class OneHolder implements Holder {
  readonly #account: Account;
  #isClosed = false;
  bytes = 0;

  constructor(account: Account) {
    this.#account = account;
  }

  get hasRoom(): boolean {
    return this.#isClosed || this.#account.hasRoom(this);
  }

  add(bytes: number): void {
    if (this.#isClosed) return;
    this.bytes += bytes;
    this.#account.change(bytes);
  }

  remove(bytes: number): void {
    this.add(-bytes);
  }

  async room(): Promise<void> {
    if (!this.#isClosed) await this.#account.room(this);
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.add(-this.bytes);
    this.#isClosed = true;
    this.#account.close(this);
  }
}
