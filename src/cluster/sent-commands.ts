/** Tells whether a command has left this process, and on which of the server's connections. */
import type { Binary } from '../bson/bson.js';
import type { DriverClient, DriverSession, SentCommand } from './driver.js';

/** Where a command went: the server, its process, and the connection by that process's own number. */
export interface SentOn {
  readonly address: string;
  readonly process: string | undefined;
  readonly connectionId: number;
}

/** What is known of the commands of one session while it is watched. */
export interface Watch {
  /** Of the last command; undefined: none has been sent. */
  readonly sentOn: SentOn | undefined;
  stop(): void;
}

/** Follows the commands of a client that tells of them (`tellsSent`), one at a time in a session. */
export class SentCommands {
  readonly #started = new Map<string, (sent: SentCommand) => void>();

  constructor(client: Pick<DriverClient, 'onSent'>) {
    client.onSent((sent) => this.#started.get(textOf(sent.session))?.(sent));
  }

  /** Follows a session's commands until it is stopped. */
  watch(session: DriverSession): Watch {
    const id = textOf(session.id);
    let sentOn: SentOn | undefined;
    this.#started.set(id, ({ address, process, connectionId }) => {
      sentOn = { address, process, connectionId };
    });
    return {
      get sentOn() {
        return sentOn;
      },
      stop: () => this.#started.delete(id),
    };
  }
}

function textOf(id: Binary | undefined): string {
  return id === undefined ? '' : id.toString('hex');
}
