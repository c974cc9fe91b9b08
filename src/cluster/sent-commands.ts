/** Tells whether a command has left this process, and on which of the server's connections. */
import type { Binary, ClientSession, CommandStartedEvent, MongoClient } from 'mongodb';

/** Where a command went: the server, and the connection by the server's own number. */
export interface SentOn {
  readonly address: string;
  readonly connectionId: number;
}

/** What is known of the commands of one session while it is watched. */
export interface Watch {
  /** Of the last command; undefined: none has been sent. */
  readonly sentOn: SentOn | undefined;
  stop(): void;
}

/** Follows the commands of a client that monitors them (`monitorCommands`), one at a time in a session. */
export class SentCommands {
  readonly #started = new Map<string, (event: CommandStartedEvent) => void>();

  constructor(client: MongoClient) {
    client.on('commandStarted', (event) => this.#started.get(idOf(event.command['lsid']))?.(event));
  }

  /** Follows a session's commands until it is stopped. */
  watch(session: ClientSession): Watch {
    const id = idOf(session.id);
    let sentOn: SentOn | undefined;
    this.#started.set(id, ({ address, serverConnectionId }) => {
      sentOn = { address, connectionId: Number(serverConnectionId) };
    });
    return {
      get sentOn() {
        return sentOn;
      },
      stop: () => this.#started.delete(id),
    };
  }
}

function idOf(lsid: unknown): string {
  const { id } = (lsid ?? {}) as { id?: Binary };
  return id === undefined ? '' : id.toString('hex');
}
