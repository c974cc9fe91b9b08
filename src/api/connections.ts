/** Limits the connections of a server, and closes the least useful one when a new one needs its place. */
import type { Server, Socket } from 'node:net';

/** What a connection is for at the moment; the first are closed first when there are too many. */
const RANKS = ['idle', 'receiving', 'answering'] as const;
export type Use = (typeof RANKS)[number];

/** How long a connection may take to send its first byte, in milliseconds. */
const FIRST_BYTE_MS = 10_000;

/**
 * The connections of a server, at most `max`: one more is let in at the cost of the one that has been idle the longest,
 * then of one that has been sending a request the longest, then of the oldest. So nobody is locked out by connections
 * that do nothing. One that sends nothing at all is closed after some seconds.
 */
export class Connections {
  readonly #max: number;
  /** In the order in which they were opened, or used last. */
  readonly #uses = new Map<Socket, Use>();
  readonly #byPeer = new Map<string, Socket>();

  constructor(server: Server, max: number) {
    this.#max = max;
    server.on('connection', (socket) => this.#open(socket));
  }

  /** The connection of a peer, by its address and port as its socket tells them. */
  of(address: string | undefined, port: number | undefined): Socket | undefined {
    return this.#byPeer.get(`${address} ${port}`);
  }

  /** What a connection is used for from now on. */
  use(socket: Socket | undefined, use: Use): void {
    if (socket === undefined || !this.#uses.delete(socket)) return;
    this.#uses.set(socket, use);
  }

  /** Closes all of them at once. */
  destroy(): void {
    for (const socket of this.#uses.keys()) socket.destroy();
  }

  #open(socket: Socket): void {
    if (this.#uses.size >= this.#max) this.#closeOne();
    const peer = `${socket.remoteAddress} ${socket.remotePort}`;
    this.#uses.set(socket, 'idle');
    this.#byPeer.set(peer, socket);
    const timer = setTimeout(() => {
      if (socket.bytesRead === 0) socket.destroy();
    }, FIRST_BYTE_MS);
    timer.unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#uses.delete(socket);
      if (this.#byPeer.get(peer) === socket) this.#byPeer.delete(peer);
    });
  }

  #closeOne(): void {
    for (const rank of RANKS) {
      for (const [socket, use] of this.#uses) {
        if (use !== rank) continue;
        this.#uses.delete(socket);
        socket.destroy();
        return;
      }
    }
  }
}
