/** Stands between a test and a server, and lets chosen messages meet with faults. */
import { once } from 'node:events';
import net from 'node:net';
import { MongoClient } from 'mongodb';
import { type Fault, FaultRule, type MessageMatch, type ProxyMessage } from './fault-rule.js';
import { FaultyConnection } from './faulty-connection.js';
import { ReplicaSet } from './replica-set.js';
import type { ReplicaSetOptions } from './replica-set-options.js';

/** Where the proxy leads to. */
export interface FaultProxyOptions {
  /** `host:port` of the server. */
  readonly target: string;
}

/**
 * A TCP proxy in front of one mongod, in the test's process, that lets chosen messages meet with faults. It passes
 * everything else on as it is, byte for byte and in order.
 *
 * Drivers find a replica set's members by the hosts of its configuration: use `startProxiedSet`, or `directConnection`.
 * Neither TLS nor compression is understood: such messages pass, and no rule with a command's name befalls them.
 */
export class FaultProxy implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #connections = new Set<FaultyConnection>();
  #rules: FaultRule[] = [];
  #connected = 0;
  #vanished = false;

  private constructor({ target }: FaultProxyOptions) {
    const [host = '', port = ''] = target.split(':');
    this.#target = { host, port: Number(port) };
    this.#server = net.createServer((client) => this.#accept(client));
  }

  /** Listens on a free port of 127.0.0.1. */
  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    proxy.#server.listen({ port: 0, host: '127.0.0.1' });
    await once(proxy.#server, 'listening');
    // A test that fails without closing it must still come to an end.
    proxy.#server.unref();
    return proxy;
  }

  /** `127.0.0.1:<port>` */
  get host(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed');
    return `127.0.0.1:${address.port}`;
  }

  /** Connections that are open, on one side at least. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Adds a rule. The first of the rules that matches a message has it. */
  rule(match: MessageMatch, fault: Fault): FaultRule {
    const rule = new FaultRule(match, fault);
    this.#rules.push(rule);
    return rule;
  }

  drop(match: MessageMatch): FaultRule {
    return this.rule(match, { kind: 'drop' });
  }

  loseAnswer(match: MessageMatch): FaultRule {
    return this.rule(match, { kind: 'loseAnswer' });
  }

  hold(match: MessageMatch, { cutClient = true }: { readonly cutClient?: boolean } = {}): FaultRule {
    return this.rule(match, { kind: 'hold', cutClient });
  }

  halfOpen(match: MessageMatch): FaultRule {
    return this.rule(match, { kind: 'halfOpen' });
  }

  cut(match: MessageMatch): FaultRule {
    return this.rule(match, { kind: 'cut' });
  }

  delay(match: MessageMatch, ms: number): FaultRule {
    return this.rule(match, { kind: 'delay', ms });
  }

  /** Removes all rules; what is held stays so. */
  clear(): void {
    for (const rule of this.#rules) rule.remove();
    this.#rules = [];
  }

  /** Cuts all connections on both sides, those with held messages on the client's side only. */
  cutAll(): void {
    for (const each of this.#connections) each.cut();
  }

  /** As if the server's host had vanished: nothing passes, new connections included, and nobody is told. */
  vanish(): void {
    this.#vanished = true;
    for (const each of this.#connections) each.stall();
  }

  /** Ends {@link vanish}. `deliver`: what was under way arrives now; else the connections of before are cut. */
  comeBack({ deliver = false }: { readonly deliver?: boolean } = {}): void {
    this.#vanished = false;
    for (const each of this.#connections) {
      if (deliver) each.goOn();
      else each.cut();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const each of this.#connections) each.destroy();
    await closed;
  }

  #accept(client: net.Socket): void {
    const server = net.connect(this.#target);
    client.unref();
    server.unref();
    const ruleOf = (message: ProxyMessage): FaultRule | undefined => this.#rules.find((rule) => rule.takes(message));
    const connection = new FaultyConnection(++this.#connected, { client, server }, ruleOf);
    this.#connections.add(connection);
    if (this.#vanished) connection.stall();
    void connection.closed.then(() => this.#connections.delete(connection));
  }
}

/** A set whose members are reached through proxies only, whatever a driver or another member learns of it. */
export interface ProxiedSet extends AsyncDisposable {
  readonly set: ReplicaSet;
  /** One for each member, by its index. */
  readonly proxies: readonly FaultProxy[];
  /** The first member's. */
  readonly proxy: FaultProxy;
  /** A client of that member that does not go through its proxy; the set closes it. */
  connectPast(member?: number): Promise<MongoClient>;
}

/**
 * Starts a set behind proxies: its `uri` and its configuration name them; `memberUri` goes past them.
 * Errors: as `ReplicaSet.start`.
 */
export async function startProxiedSet(options: Omit<ReplicaSetOptions, 'announce' | 'tls'> = {}): Promise<ProxiedSet> {
  const proxies: FaultProxy[] = [];
  const announce = async (target: string, index: number): Promise<string> => {
    const proxy = await FaultProxy.start({ target });
    proxies[index] = proxy;
    return proxy.host;
  };
  const clients: MongoClient[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.allSettled(clients.map((client) => client.close()));
    await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
  };
  try {
    const set = await ReplicaSet.start({ ...options, announce });
    return {
      set,
      proxies,
      proxy: proxies[0] as FaultProxy,
      connectPast: async (member = 0) => {
        const client = new MongoClient(set.memberUri(member));
        clients.push(client);
        return await client.connect();
      },
      [Symbol.asyncDispose]: async () => {
        await set.remove();
        await closeAll();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}
