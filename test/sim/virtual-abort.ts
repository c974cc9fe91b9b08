/**
 * Abort signals as Node's, as far as the program uses them, at a tenth of the cost: Node makes each an event target whose
 * prototype it exchanges, and every command of the program makes two.
 */

type Listener = (event: { readonly type: 'abort'; readonly target: VirtualAbortSignal }) => void;

interface Listening {
  readonly listener: Listener;
  readonly once: boolean;
  isRemoved: boolean;
}

/** A signal: aborts once, and calls its listeners in their order. */
export class VirtualAbortSignal {
  aborted = false;
  reason: unknown = undefined;
  #listening: Listening[] = [];

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  addEventListener(_type: 'abort', listener: Listener, options?: { readonly once?: boolean }): void {
    if (this.#listening.some((each) => each.listener === listener)) return;
    this.#listening.push({ listener, once: options?.once === true, isRemoved: false });
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    const at = this.#listening.findIndex((each) => each.listener === listener);
    if (at < 0) return;
    const [removed] = this.#listening.splice(at, 1);
    if (removed !== undefined) removed.isRemoved = true;
  }

  /** As of an emitter of events: what node:events then asks for. */
  setMaxListeners(): this {
    return this;
  }

  /** Those who are removed while others are called are not called, nor are those who come meanwhile. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const called = this.#listening;
    this.#listening = called.filter(({ once }) => !once);
    for (const each of called) if (!each.isRemoved) this.#call(each);
  }

  /** As Node does: what a listener throws reaches none of the others, and ends the program. */
  #call({ listener }: Listening): void {
    try {
      listener({ type: 'abort', target: this });
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

/** Has a signal, and aborts it. */
export class VirtualAbortController {
  readonly signal = new VirtualAbortSignal();

  abort(reason: unknown = new DOMException('This operation was aborted', 'AbortError')): void {
    this.signal.abort(reason);
  }
}
