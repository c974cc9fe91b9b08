/** Asks servers what they are, one by one. */
import { type Document, MongoClient } from 'mongodb';
import { mongoUri } from './mongo-uri.js';
import type { TlsFiles } from './tls-files.js';
import { within } from './within.js';

// A paused server never answers, and must not hold up the question who is primary.
const HELLO_MS = 1_500;

/**
 * Asks servers one by one what they are, over connections that are kept for the next question. To be closed when the
 * wait is over: a probe kept longer would keep a process from ending whose test forgot its set.
 */
export class HelloProbe implements AsyncDisposable {
  readonly #tls: TlsFiles | undefined;
  readonly #clients = new Map<string, MongoClient>();

  constructor(tls: TlsFiles | undefined) {
    this.#tls = tls;
  }

  /** The server's answer to `hello`, which needs no credentials; undefined if none comes within 1.5 s. */
  async ask(host: string): Promise<Document | undefined> {
    const answer = this.#client(host).db('admin').command({ hello: 1 });
    try {
      return await within(HELLO_MS, answer, `hello of ${host}`);
    } catch (error) {
      if (error instanceof Error) return undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }

  #client(host: string): MongoClient {
    let client = this.#clients.get(host);
    if (client === undefined) {
      const uri = mongoUri([host], { directConnection: 'true' }, { credentials: undefined, tls: this.#tls });
      const limits = { connectTimeoutMS: HELLO_MS, serverSelectionTimeoutMS: HELLO_MS, socketTimeoutMS: HELLO_MS };
      client = new MongoClient(uri, limits);
      this.#clients.set(host, client);
    }
    return client;
  }
}

/** Whether the answer comes from a member that replicates: neither starting up, nor recovering, nor cut off. */
export function takesPart(hello: Document | undefined): boolean {
  return isPrimary(hello) || hello?.secondary === true;
}

/** Whether the answer comes from a primary. */
export function isPrimary(hello: Document | undefined): boolean {
  return hello?.isWritablePrimary === true;
}
