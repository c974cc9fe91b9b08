/** Keeps connections to the servers behind the router, as many as are in use at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RouterError } from './errors.js';
import type { Sequence } from './messages.js';
import type { Doc, RawValue } from './raw-values.js';
import { ShardConnection } from './shard-connection.js';

const HOST_LOOK_MS = 100;

/** Idle connections by host. A command has a connection of its own while it runs. */
export class ShardPool {
  readonly #idle = new Map<string, ShardConnection[]>();
  readonly #key: string | undefined;
  readonly #hostWaitMs: number;
  #closed = false;

  /**
   * `key`: the content of the cluster's key file without white space; undefined without access control. `hostWaitMs`: how
   * long a server that is down is waited for, as a mongos waits for a primary.
   */
  constructor({ key, hostWaitMs }: { readonly key: string | undefined; readonly hostWaitMs: number }) {
    this.#key = key;
    this.#hostWaitMs = hostWaitMs;
  }

  /** Sends one command. Errors: HostUnreachable (6) or, after a wait, FailedToSatisfyReadPreference (133); 6 also when the connection is lost before the answer has come. */
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
    return await this.#open(host);
  }

  async #open(host: string): Promise<ShardConnection> {
    for (const until = Date.now() + this.#hostWaitMs; ; ) {
      try {
        return await ShardConnection.open(host, { kind: 'member', key: this.#key });
      } catch (error) {
        if (this.#hostWaitMs === 0 || this.#closed) throw unreachable(host, error);
        if (Date.now() > until) throw noPrimary(host);
        await sleep(HOST_LOOK_MS);
      }
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

/** As a mongos says it whose wait for a primary is over. */
function noPrimary(host: string): RouterError {
  const message = `Could not find host matching read preference { mode: "primary" } for the set of ${host}`;
  return new RouterError(133, 'FailedToSatisfyReadPreference', message);
}

function unreachable(host: string, error: unknown): RouterError {
  const cause = error instanceof Error ? error.message : String(error);
  return new RouterError(6, 'HostUnreachable', `network error while talking to ${host} :: caused by :: ${cause}`);
}
