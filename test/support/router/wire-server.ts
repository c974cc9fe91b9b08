/** Listens for drivers and hands their messages to the router, one at a time for each connection. */
import { once } from 'node:events';
import net from 'node:net';
import { MessageFramer } from '../wire-message.js';
import { NOBODY } from './backend.js';
import { CutConnection } from './fail-command.js';
import { readMessage, writeLegacyReply, writeMessage } from './messages.js';
import type { ClientConnection } from './request.js';
import type { Router } from './router.js';

/** A listening router. */
export class WireServer {
  readonly #server: net.Server;
  readonly #router: Router;
  readonly #log: (line: string) => void;
  readonly #sockets = new Set<net.Socket>();
  #connections = 0;

  private constructor(router: Router, log: (line: string) => void) {
    this.#router = router;
    this.#log = log;
    this.#server = net.createServer((socket) => void this.#serve(socket));
  }

  /** Listens on that port of 127.0.0.1. Errors: the socket's, e.g. EADDRINUSE. */
  static async listen(
    router: Router,
    { port, log }: { port: number; log: (line: string) => void },
  ): Promise<WireServer> {
    const server = new WireServer(router, log);
    server.#server.listen({ port, host: '127.0.0.1' });
    await once(server.#server, 'listening');
    return server;
  }

  /** Stops listening and cuts all connections. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(socket: net.Socket): Promise<void> {
    this.#connections += 1;
    this.#sockets.add(socket);
    const client: ClientConnection = {
      number: this.#connections,
      appName: undefined,
      identity: NOBODY,
      loggedIn: false,
      privileges: [],
      login: undefined,
    };
    socket.setNoDelay(true);
    // Told by the loop below; one that comes after it must not end the process.
    socket.on('error', () => undefined);
    try {
      const framer = new MessageFramer();
      for await (const chunk of socket) {
        for (const bytes of framer.push(chunk as Buffer)) await this.#answer(socket, client, bytes);
      }
    } catch (error) {
      if (!isCut(error) && !(error instanceof CutConnection))
        this.#log(`router double: connection ${client.number} ended: ${String(error)}`);
    } finally {
      socket.destroy();
      client.login?.close();
      this.#sockets.delete(socket);
    }
  }

  async #answer(socket: net.Socket, client: ClientConnection, bytes: Buffer): Promise<void> {
    const message = readMessage(bytes);
    const answer = await this.#router.answer(message, client);
    if (message.moreToCome || socket.destroyed) return;
    const { requestId, legacy } = message;
    const chunks = legacy ? writeLegacyReply(answer, requestId) : writeMessage(answer, undefined, requestId);
    socket.cork();
    for (const chunk of chunks) socket.write(chunk);
    socket.uncork();
  }
}

function isCut(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(String(error.code))
  );
}
