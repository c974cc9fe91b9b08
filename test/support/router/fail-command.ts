/** The fail point `failCommand`, by which tests hold or refuse chosen commands of a client at the router itself. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from './command.js';
import { RouterError } from './errors.js';
import {
  type Doc,
  doc,
  type Fields,
  fieldOf,
  fieldsOf,
  isTrue,
  itemsOf,
  numberOf,
  type RawValue,
  textOf,
} from './raw-values.js';
import { okay, type Request } from './request.js';

/** A connection that is to be cut instead of an answer. */
export class CutConnection extends Error {
  override readonly name = 'CutConnection';
}

/** Which commands are touched, and how. As the server's own fail point; `failInternalCommands` is of no use here. */
export class FailCommand {
  #data: Fields | undefined;
  /** How many commands are still to be let by, and then to be touched. */
  #skip = 0;
  #times = 0;
  #entered = 0;

  /** How many commands have been touched since the router was started. */
  get timesEntered(): number {
    return this.#entered;
  }

  /** Takes `mode` and `data` of configureFailPoint. Errors: BadValue (2) for a mode that is not known. */
  configure(mode: RawValue | undefined, data: RawValue | undefined): void {
    const text = textOf(mode);
    const counts = mode === undefined || text !== undefined ? undefined : fieldsOf(mode.bytes);
    const [times, skip] = [numberOf(counts?.get('times')), numberOf(counts?.get('skip'))];
    if (text !== 'off' && text !== 'alwaysOn' && times === undefined && skip === undefined) {
      throw new RouterError(2, 'BadValue', 'failpoint mode must be off, alwaysOn, {times} or {skip}');
    }
    this.#data = text === 'off' || data === undefined ? undefined : fieldsOf(data.bytes);
    this.#skip = skip ?? 0;
    this.#times = times ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Holds the command, where it is one of those meant. Errors: what the test wants it refused with; {@link CutConnection}.
   * Resolves with a write concern error that its answer is to have.
   */
  async enter(name: string, command: Command, appName: string | undefined): Promise<RawValue | undefined> {
    const data = this.#data;
    if (data === undefined || !isMeant(data, { name, command, appName })) return undefined;
    if (this.#skip > 0) {
      this.#skip -= 1;
      return undefined;
    }
    if (this.#times <= 0) return undefined;
    this.#times -= 1;
    this.#entered += 1;
    if (isTrue(data.get('blockConnection'))) await sleep(numberOf(data.get('blockTimeMS')) ?? 0);
    if (isTrue(data.get('closeConnection'))) throw new CutConnection(`${name} is cut by a fail point`);
    const code = numberOf(data.get('errorCode'));
    if (code === undefined) return data.get('writeConcernError');
    const labels = data.get('errorLabels');
    const extra = data.get('errorExtraInfo');
    const fields = extra === undefined ? {} : Object.fromEntries(fieldsOf(extra.bytes));
    throw new RouterError(code, `Code${code}`, "Failing command via 'failCommand' failpoint", {
      ...fields,
      ...(labels && { errorLabels: labels }),
    });
  }
}

function isMeant(
  data: Fields,
  {
    name,
    command,
    appName,
  }: { readonly name: string; readonly command: Command; readonly appName: string | undefined },
): boolean {
  const names = itemsOf(data.get('failCommands')).map(textOf);
  const [app, namespace] = [textOf(data.get('appName')), textOf(data.get('namespace'))];
  if (!names.includes(name) || (app !== undefined && app !== appName)) return false;
  return namespace === undefined || namespace === `${command.db}.${collectionOf(command)}`;
}

function collectionOf(command: Command): string | undefined {
  return command.text('collection') ?? textOf(command.target);
}

/** The name under which a client presents itself in its handshake. */
export function appNameOf(command: Command): string | undefined {
  const client = command.document('client');
  const application = client && fieldOf(client, 'application');
  return application && textOf(fieldOf(application.bytes, 'name'));
}

/** The handler of configureFailPoint. Errors: BadValue (2) for any other fail point: those are the shards'. */
export async function configureFailPoint({ command, parts }: Request): Promise<Doc> {
  const name = textOf(command.target);
  if (name !== 'failCommand') throw new RouterError(2, 'BadValue', `the router double has no fail point ${name}`);
  parts.failCommand.configure(command.get('mode'), command.get('data'));
  return okay({ count: parts.failCommand.timesEntered });
}

/** An answer with that write concern error. */
export function withConcernError(answer: Doc, writeConcernError: RawValue | undefined): Doc {
  return writeConcernError === undefined ? answer : doc(answer, { writeConcernError });
}
