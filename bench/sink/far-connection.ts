/** Carries one connection to a server that is far away, whose writes may be taken by the sink. */
import type net from 'node:net';
import { BSON, type Document } from 'mongodb';
import { RequestReader, type TakenWrite } from './request-reader.js';

/** Both sides of one connection. */
export interface Sides {
  readonly client: net.Socket;
  readonly server: net.Socket;
}

/** How far away the server is, and what of it there is. */
export interface Distance {
  /** So many milliseconds later does every answer come. */
  readonly delayMs: number;
  /** Whether writes of documents on users' databases are answered here: the server is given none of them. */
  readonly isSink: boolean;
}

const OP_MSG = 2013;
const HEAD_BYTES = 21;

/**
 * One connection. All that comes from the server comes later, and nothing waits for what is before it: the distance costs
 * time for each round trip, and no bandwidth. Requests reach the server at once, so that the delay counts once.
 */
export class FarConnection {
  readonly closed: Promise<void>;
  readonly #sides: Sides;
  readonly #delayMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Answers of the sink while it stands still. */
  #held: Buffer[] | undefined;

  constructor(sides: Sides, { delayMs, isSink }: Distance, isHeld: boolean) {
    const { client, server } = sides;
    this.#sides = sides;
    this.#delayMs = delayMs;
    this.#held = isHeld ? [] : undefined;
    for (const socket of [client, server]) socket.setNoDelay(true);
    this.closed = Promise.all([closing(client), closing(server)]).then(() => undefined);
    const reader = new RequestReader({
      pass: (bytes) => server.write(bytes),
      take: (write) => this.#answer(write),
    });
    client.on('data', (chunk: Buffer) => {
      try {
        if (isSink) reader.push(chunk);
        else server.write(chunk);
      } catch (error) {
        client.destroy(error as Error);
      }
    });
    server.on('data', (chunk: Buffer) => this.#later(() => client.write(chunk)));
    client.once('close', () => this.destroy());
    server.once('close', () => this.#later(() => client.destroy()));
  }

  /** Writes that wait for their answer, since the sink stands still. */
  get held(): number {
    return this.#held?.length ?? 0;
  }

  /** Answers no writes from now on, as a server that stands still; or answers those that were kept. */
  hold(isHeld: boolean): void {
    if (isHeld) this.#held ??= [];
    else {
      for (const answer of this.#held ?? []) this.#later(() => this.#sides.client.write(answer));
      this.#held = undefined;
    }
  }

  destroy(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#sides.client.destroy();
    this.#sides.server.destroy();
  }

  #answer(write: TakenWrite): void {
    if (!write.isAnswered) return;
    const answer = answerTo(write);
    if (this.#held !== undefined) this.#held.push(answer);
    else this.#later(() => this.#sides.client.write(answer));
  }

  /** In the order of the calls: timers of one duration keep it. */
  #later(work: () => void): void {
    if (this.#delayMs === 0) {
      work();
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, this.#delayMs);
    this.#timers.add(timer);
  }
}

/** As a server answers that has done all of it. */
function answerTo({ requestId, kind, statements }: TakenWrite): Buffer {
  const reply: Document = { n: statements, ...(kind === 'update' ? { nModified: statements } : {}), ok: 1 };
  const body = BSON.serialize(reply);
  const answer = Buffer.alloc(HEAD_BYTES + body.length);
  answer.writeInt32LE(answer.length, 0);
  answer.writeInt32LE(requestId, 8);
  answer.writeInt32LE(OP_MSG, 12);
  answer.set(body, HEAD_BYTES);
  return answer;
}

async function closing(socket: net.Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    // Its own event follows; without a listener it would end the process.
    socket.on('error', () => socket.destroy());
  });
}
