/**
 * Carries typed calls between two threads over a message port: a task goes one way; progress, and an answer or an error,
 * come back.
 *
 * Both ends are alike: each may call, and each may serve calls. The messages of one call, which bears a number of its
 * caller's:
 *
 *     caller                              callee
 *     call {id, name, task}       ─────►  runs the handler of that name
 *                                 ◄─────  progress {id, number, value}     any number of times
 *     taken {id, number}          ─────►  `tell` resolves; with an error it rejects
 *     abort {id, reason}          ─────►  the handler's signal aborts      at most once
 *                                 ◄─────  answer {id, value}, or failed {id, error}
 *
 * Tasks, progress and answers are copied by the structured clone algorithm, which keeps no classes and makes a
 * `Uint8Array` of a `Buffer`: only what survives that may be sent. A view is copied with all of the memory it looks at,
 * so parts of large buffers must be copied out before.
 *
 * Bounded: each end has a limited number of calls under way, and each call of progress that is not acknowledged yet.
 * Nothing here knows what is sent; errors cross in a form that whoever makes the channel gives.
 */
import { setMaxListeners } from 'node:events';
import { linkAbort } from './signals.js';
import { type Deferred, deferred } from './tasks.js';

/** Calls of one end that are under way; one more is a mistake of the caller's. */
const MAX_CALLS = 1024;
/** Progress of one call that is not acknowledged yet. */
const MAX_UNTAKEN = 64;

declare const types: unique symbol;

/** One kind of call: its name on the wire, and the types of what is sent. All of them must survive structured clone. */
export interface CallKind<Task, Progress, Answer> {
  readonly name: string;
  readonly [types]?: { readonly task: Task; readonly progress: Progress; readonly answer: Answer };
}

/** Defines a kind of call, for both ends to import. Names are unique within a channel. */
export function callKind<Task, Progress = never, Answer = void>(name: string): CallKind<Task, Progress, Answer> {
  return { name };
}

/** What a `Worker` and a `MessagePort` have in common. */
export interface ChannelPort {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** How errors cross: `toPlain` makes something that survives structured clone, `fromPlain` an error of it again. */
export interface ErrorForm {
  toPlain(error: unknown): unknown;
  fromPlain(plain: unknown): Error;
}

/** How a call is made. */
export interface CallOptions<Progress> {
  readonly signal: AbortSignal;
  /** Awaited before the other end is told that its progress was taken; what it throws ends the call. */
  readonly onProgress?: (progress: Progress) => void | Promise<void>;
  /** Buffers of the task that are handed over instead of copied. */
  readonly transfer?: readonly ArrayBuffer[];
  /**
   * What an abort of the signal does besides telling the other end. `wait` (the default): the call goes on until the
   * other end has ended it, so that nothing of it is under way any more. `leave`: it rejects at once; for reads.
   */
  readonly onAbort?: 'wait' | 'leave';
}

/** What a handler is given besides the task. */
export interface Served<Progress> {
  /** Aborts with the caller's signal, and when the channel ends. */
  readonly signal: AbortSignal;
  /** Resolves once the caller has taken it. Errors: the caller's; the signal's reason. */
  tell(progress: Progress): Promise<void>;
}

/** The other end is gone: its thread has ended, or the channel was ended here. */
export class ThreadEnded extends Error {
  override readonly name = 'ThreadEnded';
}

type Handler = (task: unknown, served: Served<unknown>) => Promise<unknown>;

type Message =
  | { readonly type: 'call'; readonly id: number; readonly name: string; readonly task: unknown }
  | { readonly type: 'abort'; readonly id: number; readonly reason: unknown }
  | { readonly type: 'progress'; readonly id: number; readonly number: number; readonly value: unknown }
  | { readonly type: 'taken'; readonly id: number; readonly number: number; readonly error: unknown }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly error: unknown };

interface Outgoing extends Deferred<unknown> {
  readonly onProgress: (progress: unknown) => void | Promise<void>;
  /** What `onProgress` has thrown: the call ends with it, and not with the copy of it that comes back. */
  thrown: { readonly cause: unknown } | undefined;
}

interface Incoming {
  readonly controller: AbortController;
  readonly untaken: Map<number, Deferred<void>>;
}

/** One end of a channel. */
export class ThreadChannel {
  readonly #port: ChannelPort;
  readonly #errors: ErrorForm;
  readonly #handlers = new Map<string, Handler>();
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #incoming = new Map<number, Incoming>();
  #next = 0;
  #ended: ThreadEnded | undefined;

  constructor(port: ChannelPort, errors: ErrorForm) {
    this.#port = port;
    this.#errors = errors;
    port.on('message', (message) => this.#take(message as Message));
  }

  /** Calls of this end that are under way. */
  get callsUnderWay(): number {
    return this.#outgoing.size;
  }

  /** Why it has ended; undefined while it has not. */
  get ended(): ThreadEnded | undefined {
    return this.#ended;
  }

  /** From now on calls of this kind are carried out by `handler`. Once for each kind. */
  serve<Task, Progress, Answer>(
    kind: CallKind<Task, Progress, Answer>,
    handler: (task: Task, served: Served<Progress>) => Promise<Answer>,
  ): void {
    if (this.#handlers.has(kind.name)) throw new Error(`calls of ${kind.name} have a handler already`);
    this.#handlers.set(kind.name, (task, served) => handler(task as Task, served as Served<Progress>));
  }

  /**
   * Has the other end carry out a task. Errors: the handler's, in the form in which errors cross; ThreadEnded when the
   * other end goes away; the signal's reason, when it aborts and the task does not end well all the same; whatever
   * `onProgress` throws.
   */
  async call<Task, Progress, Answer>(
    kind: CallKind<Task, Progress, Answer>,
    task: Task,
    options: CallOptions<Progress>,
  ): Promise<Answer> {
    const { signal, onProgress = () => undefined, transfer, onAbort = 'wait' } = options;
    signal.throwIfAborted();
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#outgoing.size >= MAX_CALLS) throw new Error(`more than ${MAX_CALLS} calls to a thread at a time`);
    const id = this.#next++;
    const own: Outgoing = Object.assign(deferred<unknown>(), {
      onProgress: (progress: unknown) => onProgress(progress as Progress),
      thrown: undefined,
    });
    this.#outgoing.set(id, own);
    const abort = (): void => {
      this.#send({ type: 'abort', id, reason: this.#errors.toPlain(signal.reason) });
      if (onAbort === 'leave') own.reject(signal.reason);
    };
    // As many as there are calls, which is no leak.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', abort, { once: true });
    try {
      this.#send({ type: 'call', id, name: kind.name, task }, transfer);
      return (await own.promise) as Answer;
    } catch (error) {
      if (own.thrown !== undefined) throw own.thrown.cause;
      // The copy of the reason that comes back is not the reason.
      if (!(error instanceof ThreadEnded)) signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
      this.#outgoing.delete(id);
    }
  }

  /** The other end is gone: calls under way reject with `reason`, and those that are served abort. Repeatable. */
  end(reason: ThreadEnded): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const each of this.#outgoing.values()) each.reject(reason);
    for (const each of this.#incoming.values()) abortIncoming(each, reason);
  }

  #send(message: Message, transfer?: readonly ArrayBuffer[]): void {
    if (this.#ended === undefined) this.#port.postMessage(message, transfer);
  }

  #take(message: Message): void {
    if (this.#ended !== undefined) return;
    const { type, id } = message;
    if (type === 'call') void this.#serveOne(id, message.name, message.task);
    else if (type === 'abort' || type === 'taken') {
      const incoming = this.#incoming.get(id);
      // It may have ended meanwhile.
      if (incoming === undefined) return;
      if (type === 'abort') abortIncoming(incoming, this.#errors.fromPlain(message.reason));
      else this.#settleTaken(incoming, message.number, message.error);
    } else this.#takeFor(this.#outgoing.get(id), message);
  }

  #takeFor(
    outgoing: Outgoing | undefined,
    message: Extract<Message, { type: 'progress' | 'answer' | 'failed' }>,
  ): void {
    // One that was left.
    if (outgoing === undefined) {
      if (message.type === 'progress')
        this.#send({ type: 'taken', id: message.id, number: message.number, error: undefined });
    } else if (message.type === 'progress') void this.#takeProgress(outgoing, message);
    else if (message.type === 'answer') outgoing.resolve(message.value);
    else outgoing.reject(this.#errors.fromPlain(message.error));
  }

  /** Never rejects. */
  async #takeProgress(
    outgoing: Outgoing,
    { id, number, value }: Extract<Message, { type: 'progress' }>,
  ): Promise<void> {
    let error: unknown;
    try {
      await outgoing.onProgress(value);
    } catch (cause) {
      outgoing.thrown ??= { cause };
      error = this.#errors.toPlain(cause);
    }
    this.#send({ type: 'taken', id, number, error });
  }

  #settleTaken({ untaken }: Incoming, number: number, error: unknown): void {
    const told = untaken.get(number);
    untaken.delete(number);
    if (error === undefined) told?.resolve();
    else told?.reject(this.#errors.fromPlain(error));
  }

  /** Never rejects: what the handler rejects with is sent. */
  async #serveOne(id: number, name: string, task: unknown): Promise<void> {
    const incoming: Incoming = { controller: new AbortController(), untaken: new Map() };
    this.#incoming.set(id, incoming);
    using link = linkAbort(incoming.controller.signal);
    let number = 0;
    const tell = async (value: unknown): Promise<void> => {
      link.signal.throwIfAborted();
      if (incoming.untaken.size >= MAX_UNTAKEN) throw new Error(`${name}: more than ${MAX_UNTAKEN} tellings at a time`);
      const told = deferred<void>();
      incoming.untaken.set(++number, told);
      this.#send({ type: 'progress', id, number, value });
      await told.promise;
    };
    try {
      const handler = this.#handlers.get(name);
      if (handler === undefined) throw new Error(`nothing serves calls of ${name}`);
      this.#send({ type: 'answer', id, value: await handler(task, { signal: link.signal, tell }) });
    } catch (error) {
      this.#send({ type: 'failed', id, error: this.#errors.toPlain(error) });
    } finally {
      this.#incoming.delete(id);
    }
  }
}

function abortIncoming({ controller, untaken }: Incoming, reason: Error): void {
  controller.abort(reason);
  for (const told of untaken.values()) told.reject(reason);
  untaken.clear();
}
