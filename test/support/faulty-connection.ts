/** Carries one connection through the fault proxy. */
import type net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, type Document } from 'mongodb';
import type { FaultRule, HeldMessage, ProxyMessage } from './fault-rule.js';
import {
  appNameOf,
  type CommandName,
  commandName,
  MessageFramer,
  readMessage,
  type WireMessage,
} from './wire-message.js';

/** A request that has not been answered in full. */
interface Pending {
  readonly name: CommandName;
  /** Has the answer; true: the client does not get it. */
  onAnswer: ((answer: Document | undefined) => boolean) | undefined;
}

/** Both sides of one connection. */
export interface Sides {
  readonly client: net.Socket;
  readonly server: net.Socket;
}

type Direction = ProxyMessage['direction'];

/** One connection through the proxy. */
export class FaultyConnection {
  /** Resolves once both sides are closed. */
  readonly closed: Promise<void>;
  readonly #number: number;
  readonly #sides: Sides;
  readonly #ruleOf: (message: ProxyMessage) => FaultRule | undefined;
  readonly #pending = new Map<number, Pending>();
  #appName: string | undefined;
  /** Of messages kept: while there are any, the server's side stays open. */
  #holds = 0;
  #gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined;

  constructor(number: number, sides: Sides, ruleOf: (message: ProxyMessage) => FaultRule | undefined) {
    this.#number = number;
    this.#sides = sides;
    this.#ruleOf = ruleOf;
    const { client, server } = sides;
    for (const socket of [client, server]) socket.setNoDelay(true);
    this.closed = Promise.all([closing(client), closing(server)]).then(() => undefined);
    void this.#pump(client, 'request');
    void this.#pump(server, 'answer');
  }

  /** Lets nothing pass any more, in neither direction, until {@link goOn}. */
  stall(): void {
    if (this.#gate !== undefined) return;
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = { opened, open };
  }

  /** What was stopped passes now. */
  goOn(): void {
    this.#gate?.open();
    this.#gate = undefined;
    const { client, server } = this.#sides;
    if (client.destroyed || server.destroyed) this.cut();
  }

  /** Cuts the client's side, and the server's too, unless a message for it is held. */
  cut(): void {
    this.#sides.client.destroy();
    this.#settle();
  }

  destroy(): void {
    this.#holds = 0;
    this.cut();
  }

  #settle(): void {
    if (this.#holds > 0) return;
    this.#sides.server.destroy();
    this.#gate?.open();
    this.#gate = undefined;
  }

  /** Never rejects: an error of a socket closes it, which ends the connection. */
  async #pump(from: net.Socket, direction: Direction): Promise<void> {
    const framer = new MessageFramer();
    try {
      for await (const chunk of from) {
        for (const bytes of framer.push(chunk as Buffer)) await this.#handle(readMessage(bytes), direction);
      }
    } catch (error) {
      // A socket that was closed by one of the sides, or by a rule.
      if (!(error instanceof Error && 'code' in error)) this.destroy();
    }
    if (direction === 'answer') {
      this.#holds = 0;
      this.#sides.client.destroy();
      for (const each of this.#pending.values()) each.onAnswer?.(undefined);
    }
    // Half open: neither side hears of the other's end.
    if (this.#gate === undefined) this.#settle();
  }

  async #handle(wire: WireMessage, direction: Direction): Promise<void> {
    await this.#gate?.opened;
    if ((direction === 'request' ? this.#sides.server : this.#sides.client).destroyed && this.#holds === 0) return;
    const pending = direction === 'request' ? this.#requested(wire) : this.#answered(wire);
    const message = this.#describe(wire, pending?.name ?? commandName(wire.body), direction);
    if (direction === 'answer' && pending?.onAnswer?.(BSON.deserialize(wire.body)) === true) return;
    const rule = this.#ruleOf(message);
    if (rule === undefined) await this.#forward(wire, direction);
    else await this.#befall(rule, { wire, message, pending });
  }

  #requested(wire: WireMessage): Pending {
    this.#appName ??= appNameOf(wire.body);
    const pending: Pending = { name: commandName(wire.body), onAnswer: undefined };
    if (!wire.moreToCome) this.#pending.set(wire.requestId, pending);
    return pending;
  }

  #answered(wire: WireMessage): Pending | undefined {
    const pending = this.#pending.get(wire.responseTo);
    this.#pending.delete(wire.responseTo);
    // The next answer of a stream of them answers this one.
    if (wire.moreToCome && pending !== undefined) this.#pending.set(wire.requestId, pending);
    return pending;
  }

  #describe(wire: WireMessage, name: CommandName, direction: Direction): ProxyMessage {
    const { requestId, bytes, body } = wire;
    const [connection, appName] = [this.#number, this.#appName];
    return { ...name, connection, appName, direction, requestId, bytes, body: () => BSON.deserialize(body) };
  }

  async #forward(wire: WireMessage, direction: Direction): Promise<void> {
    const to = direction === 'request' ? this.#sides.server : this.#sides.client;
    // Called also when the socket is closed before; its own events tell of that.
    await new Promise<void>((resolve) => to.write(wire.bytes, () => resolve()));
  }

  async #befall(rule: FaultRule, { wire, message, pending }: Met): Promise<void> {
    const { fault } = rule;
    const { direction } = message;
    switch (fault.kind) {
      case 'drop':
        return this.cut();
      case 'loseAnswer':
        if (direction === 'answer') return this.#lose(rule, BSON.deserialize(wire.body));
        if (pending !== undefined) {
          pending.onAnswer = (answer) => {
            if (answer !== undefined) this.#lose(rule, answer);
            return true;
          };
        }
        return this.#forward(wire, direction);
      case 'hold':
        return this.#hold(rule, { wire, message, pending }, fault.cutClient);
      case 'halfOpen':
        this.stall();
        await this.#gate?.opened;
        return this.#forward(wire, direction);
      case 'cut':
        await this.#forward(wire, direction);
        return this.cut();
      case 'delay':
        await sleep(fault.ms, undefined, { ref: false });
        return this.#forward(wire, direction);
    }
  }

  #lose(rule: FaultRule, answer: Document): void {
    this.cut();
    rule.addLost(answer);
  }

  /** Resolves once it is delivered, so that what comes after it on its connection stays behind it. */
  async #hold(rule: FaultRule, { wire, message, pending }: Met, cutClient: boolean): Promise<void> {
    this.#holds++;
    await new Promise<void>((resolve) => {
      const held: HeldMessage = {
        message,
        cutClient: () => {
          this.#sides.client.destroy();
        },
        deliver: () => {
          const answer = this.#deliver(wire, message.direction, pending);
          void answer.then(() => resolve());
          return answer;
        },
      };
      if (cutClient) held.cutClient();
      rule.addHeld(held);
    });
  }

  async #deliver(wire: WireMessage, direction: Direction, pending: Pending | undefined): Promise<Document | undefined> {
    const answer = await new Promise<Document | undefined>((resolve) => {
      const isAnswered = direction === 'request' && !wire.moreToCome && !this.#sides.server.destroyed;
      if (isAnswered && pending !== undefined) {
        pending.onAnswer = (got) => {
          resolve(got);
          return false;
        };
      }
      const sent = this.#forward(wire, direction);
      if (!isAnswered) void sent.then(() => resolve(undefined));
    });
    this.#holds = Math.max(0, this.#holds - 1);
    if (this.#sides.client.destroyed) this.#settle();
    return answer;
  }
}

interface Met {
  readonly wire: WireMessage;
  readonly message: ProxyMessage;
  readonly pending: Pending | undefined;
}

async function closing(socket: net.Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    // Its own event follows; without a listener it would end the process.
    socket.on('error', () => socket.destroy());
  });
}
