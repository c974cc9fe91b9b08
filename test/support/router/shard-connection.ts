/** One connection to a config server or shard, opened as another member of the cluster opens it. */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { promisify } from 'node:util';
import { Binary } from 'mongodb';
import { MessageFramer } from '../wire-message.js';
import { ShardError } from './errors.js';
import { readMessage, type Sequence, writeMessage } from './messages.js';
import { decoded, isTrue, numberOf, type Part, type RawValue } from './raw-values.js';

/** Of a server of 6.0. */
const WIRE_VERSION = 17;

/** For connecting, greeting and logging in together. */
const OPEN_MS = 10_000;

const derive = promisify(pbkdf2);

interface Waiting {
  readonly resolve: (answer: Map<string, RawValue>) => void;
  readonly reject: (error: Error) => void;
}

/** What a connection is to be opened as: another member of the cluster, by its key if there is one, or a plain client. */
export type Opener = { readonly kind: 'member'; readonly key: string | undefined } | { readonly kind: 'client' };

/** A connection that carries one command at a time. Errors of its methods: the socket's. */
export class ShardConnection {
  readonly #socket: net.Socket;
  readonly #framer = new MessageFramer();
  #waiting: Waiting | undefined;
  #failure: Error | undefined;

  private constructor(
    readonly host: string,
    socket: net.Socket,
  ) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error(`${host} closed the connection`)));
  }

  /** Connects to `host:port`. Errors: the socket's; {@link ShardError} if it is refused. */
  static async open(host: string, opener: Opener): Promise<ShardConnection> {
    const [name = '', port = ''] = host.split(':');
    const socket = net.connect({ host: name, port: Number(port) });
    // A server that is paused takes connections and says nothing.
    const timer = setTimeout(() => socket.destroy(new Error(`${host} has not answered in time`)), OPEN_MS);
    try {
      await once(socket, 'connect');
      return await ShardConnection.#greet(new ShardConnection(host, socket), opener);
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  static async #greet(connection: ShardConnection, opener: Opener): Promise<ShardConnection> {
    if (opener.kind === 'client') {
      await connection.callOk({ hello: 1, $db: 'admin' });
      return connection;
    }
    // Without `internalClient` a server refuses internal stages, or dies of them ($mergeCursors).
    const internalClient = { minWireVersion: WIRE_VERSION, maxWireVersion: WIRE_VERSION };
    const driver = { name: 'mongoferry router double', version: '1' };
    await connection.callOk({ hello: 1, internalClient, client: { driver, os: { type: 'test' } }, $db: 'admin' });
    if (opener.key !== undefined) await connection.#logIn(opener.key);
    return connection;
  }

  /** Whether the connection is of no more use. */
  get broken(): boolean {
    return this.#failure !== undefined;
  }

  /** Sends one command and resolves with its answer, of success or failure. */
  async call(body: Part | Uint8Array, sequence?: Sequence): Promise<Map<string, RawValue>> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#waiting !== undefined) throw new Error(`the connection to ${this.host} is in use`);
    const answer = new Promise<Map<string, RawValue>>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    this.#socket.cork();
    for (const chunk of writeMessage(body, sequence)) this.#socket.write(chunk);
    this.#socket.uncork();
    return await answer;
  }

  /** As {@link call}. Errors: also {@link ShardError} for an answer of failure. */
  async callOk(body: Part): Promise<Map<string, RawValue>> {
    const answer = await this.call(body);
    if (!isTrue(answer.get('ok'))) throw new ShardError(answer, this.host);
    return answer;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      for (const bytes of this.#framer.push(chunk)) {
        const waiting = this.#waiting;
        this.#waiting = undefined;
        waiting?.resolve(readMessage(bytes).fields);
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.destroy();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#failure);
  }

  /** SCRAM-SHA-256 as `__system`, the members' own user: its password is the key file's content. Source: RFC 5802, 7677. */
  async #logIn(key: string): Promise<void> {
    const first = `n=__system,r=${randomBytes(18).toString('base64')}`;
    const mechanism = { mechanism: 'SCRAM-SHA-256', options: { skipEmptyExchange: true } };
    const start = await this.callOk({ saslStart: 1, ...mechanism, payload: payload(`n,,${first}`), $db: 'local' });
    const serverFirst = payloadText(start);
    const {
      r = '',
      s = '',
      i = '',
    } = Object.fromEntries(serverFirst.split(',').map((part) => [part.slice(0, 1), part.slice(2)]));
    const salted = await derive(key, Buffer.from(s, 'base64'), Number(i), 32, 'sha256');
    const clientKey = createHmac('sha256', salted).update('Client Key').digest();
    const storedKey = createHash('sha256').update(clientKey).digest();
    const last = `c=biws,r=${r}`;
    const signature = createHmac('sha256', storedKey).update(`${first},${serverFirst},${last}`).digest();
    const proof = clientKey.map((byte, index) => byte ^ (signature[index] as number));
    await this.callOk({
      saslContinue: 1,
      conversationId: numberOf(start.get('conversationId')) ?? 1,
      payload: payload(`${last},p=${Buffer.from(proof).toString('base64')}`),
      $db: 'local',
    });
  }
}

function payload(text: string): Binary {
  return new Binary(Buffer.from(text));
}

function payloadText(answer: ReadonlyMap<string, RawValue>): string {
  const value = decoded(answer.get('payload'));
  return value instanceof Binary ? Buffer.from(value.buffer).toString() : '';
}
