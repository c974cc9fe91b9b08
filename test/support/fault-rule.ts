/** Describes which messages meet with which fault. */
import type { Document } from 'mongodb';
import type { CommandName } from './wire-message.js';

/** A message on its way through the proxy; an answer has the names of its request. */
export interface ProxyMessage extends CommandName {
  /** Counted from 1 in the order in which clients connected. */
  readonly connection: number;
  /** The name under which the client presented itself, e.g. `mongoferry`. */
  readonly appName: string | undefined;
  readonly direction: 'request' | 'answer';
  readonly requestId: number;
  /** The whole message. */
  readonly bytes: Buffer;
  /** The command or the answer, decoded, without document sequences. */
  body(): Document;
}

/** Which messages a fault befalls; what is left out does not matter. */
export interface MessageMatch {
  readonly command?: string | readonly string[];
  readonly db?: string;
  readonly collection?: string;
  readonly appName?: string;
  /** Default `request`. */
  readonly direction?: 'request' | 'answer';
  readonly where?: (message: ProxyMessage) => boolean;
  /** The first one, of those that match otherwise, counted from 1. Default 1. */
  readonly nth?: number;
  /** How many, from that one on. Default 1. */
  readonly times?: number;
}

/** What befalls a message. */
export type Fault =
  /** A request does not reach the server, or an answer the client; the connection is cut. */
  | { readonly kind: 'drop' }
  /** The server carries the request out; once it has answered, the connection is cut instead. */
  | { readonly kind: 'loseAnswer' }
  /** Kept until {@link HeldMessage.deliver}; `cutClient`: the client's connection is cut at once, the server's stays. */
  | { readonly kind: 'hold'; readonly cutClient: boolean }
  /** From this message on nothing passes on its connection, in neither direction, and nobody is told. */
  | { readonly kind: 'halfOpen' }
  /** The message passes, and the connection is cut right after it. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'delay'; readonly ms: number };

/** A message that the proxy keeps. */
export interface HeldMessage {
  readonly message: ProxyMessage;
  /** Cuts the client's connection, for one that was kept without; the server's stays. */
  cutClient(): void;
  /** Sends it on, and resolves with what the server answered; undefined for an answer, or if the server closed. */
  deliver(): Promise<Document | undefined>;
}

/** A fault that waits for its messages. */
export class FaultRule {
  readonly match: MessageMatch;
  readonly fault: Fault;
  readonly #hits: ProxyMessage[] = [];
  readonly #held: HeldMessage[] = [];
  readonly #lost: Document[] = [];
  readonly #waiting = new Set<() => void>();
  #seen = 0;
  #removed = false;

  constructor(match: MessageMatch, fault: Fault) {
    this.match = match;
    this.fault = fault;
  }

  /** The messages that it has befallen. */
  get hits(): readonly ProxyMessage[] {
    return this.#hits;
  }

  /** The answers that were lost, by `loseAnswer`. */
  get lost(): readonly Document[] {
    return this.#lost;
  }

  /** Resolves with the message once the fault has befallen it. `index` counts from 0. */
  async hit(index = 0): Promise<ProxyMessage> {
    return await this.#until(() => this.#hits[index]);
  }

  /** Resolves with the answer once it is lost; the server has carried the request out then. */
  async answerLost(index = 0): Promise<Document> {
    return await this.#until(() => this.#lost[index]);
  }

  /** Resolves with the message once it is held. */
  async held(index = 0): Promise<HeldMessage> {
    return await this.#until(() => this.#held[index]);
  }

  /** Befalls no more messages; what is held stays so. */
  remove(): void {
    this.#removed = true;
  }

  /** For the proxy: whether the fault befalls this message; counts it. */
  takes(message: ProxyMessage): boolean {
    if (this.#removed || !matches(this.match, message)) return false;
    this.#seen++;
    const { nth = 1, times = 1 } = this.match;
    if (this.#seen < nth || this.#seen >= nth + times) return false;
    this.#hits.push(message);
    this.#tell();
    return true;
  }

  /** For the proxy. */
  addHeld(held: HeldMessage): void {
    this.#held.push(held);
    this.#tell();
  }

  /** For the proxy. */
  addLost(answer: Document): void {
    this.#lost.push(answer);
    this.#tell();
  }

  #tell(): void {
    for (const each of this.#waiting) each();
  }

  async #until<T>(look: () => T | undefined): Promise<T> {
    return await new Promise<T>((resolve) => {
      const check = (): void => {
        const found = look();
        if (found === undefined) return;
        this.#waiting.delete(check);
        resolve(found);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

function matches({ command, db, collection, appName, direction, where }: MessageMatch, message: ProxyMessage): boolean {
  const commands = typeof command === 'string' ? [command] : command;
  return (
    message.direction === (direction ?? 'request') &&
    (commands === undefined || commands.includes(message.command)) &&
    (db === undefined || db === message.db) &&
    (collection === undefined || collection === message.collection) &&
    (appName === undefined || appName === message.appName) &&
    (where === undefined || where(message))
  );
}
