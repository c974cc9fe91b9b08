/** Keeps connections to the servers behind the router, as many as are in use at once. */
import { RouterError } from './errors.js';
import type { Sequence } from './messages.js';
import type { Doc, RawValue } from './raw-values.js';
import { ShardConnection } from './shard-connection.js';

/** Idle connections by host. A command has a connection of its own while it runs. */
export class ShardPool {
  readonly #idle = new Map<string, ShardConnection[]>();
  readonly #key: string | undefined;
  #closed = false;

  /** `key`: the content of the cluster's key file without white space; undefined without access control. */
  constructor(key: string | undefined) {
    this.#key = key;
  }

  /** Sends one command. Errors: HostUnreachable (6), also when the connection is lost before the answer has come. */
  async call(host: string, body: Doc, sequence?: Sequence): Promise<Map<string, RawValue>> {
    const connection = await this.#take(host);
    try {
      return await connection.call(body, sequence);
    } catch (error) {
      throw unreachable(host, error);
    } finally {
      this.#giveBack(connection);
    }
  }

  close(): void {
    this.#closed = true;
    for (const each of this.#idle.values()) for (const connection of each) connection.close();
    this.#idle.clear();
  }

  async #take(host: string): Promise<ShardConnection> {
    const idle = this.#idle.get(host) ?? [];
    for (let connection = idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (!connection.broken) return connection;
    }
    try {
      return await ShardConnection.open(host, { kind: 'member', key: this.#key });
    } catch (error) {
      throw unreachable(host, error);
    }
  }

  #giveBack(connection: ShardConnection): void {
    if (this.#closed || connection.broken) {
      connection.close();
      return;
    }
    const idle = this.#idle.get(connection.host);
    if (idle === undefined) this.#idle.set(connection.host, [connection]);
    else idle.push(connection);
  }
}

function unreachable(host: string, error: unknown): RouterError {
  const cause = error instanceof Error ? error.message : String(error);
  return new RouterError(6, 'HostUnreachable', `network error while talking to ${host} :: caused by :: ${cause}`);
}
