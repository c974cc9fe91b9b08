/** Sends writes that the block of user writes does not stop, where this process has the privilege for that. */
import type { Doc } from '../bson/bson.js';
import type { Commands } from './commands.js';
import type { DriverClient } from './driver.js';
import { Code, codeOf, isTransient, writesBlocked } from './errors.js';

/** What is known of one deployment's bypass, and for whom it is probed. */
export interface UnblockedParts {
  readonly control: DriverClient;
  readonly commands: Commands;
  /** "cluster1: host:port". */
  readonly label: string;
  /** Whether the server knows write blocks: 6.0 and later. */
  readonly knowsBlocks: boolean;
}

/**
 * Adds the bypass of a write block where it is needed and allowed: the field is refused where access control is on, since
 * there the user's own privilege decides. Source: MongoDB manual, setUserWriteBlockMode; tried on 6.0.5.
 */
export class UnblockedWrites {
  readonly #parts: UnblockedParts;
  #bypass = false;

  constructor(parts: UnblockedParts) {
    this.#parts = parts;
  }

  /** Errors: WritesBlocked when a write block holds it back; those of `send`. */
  async send(command: Doc, send: (command: Doc) => Promise<Doc>): Promise<Doc> {
    try {
      const reply = await this.#sendOnce(command, send);
      if (!holdsBlocked(reply)) return reply;
    } catch (error) {
      if (codeOf(error) !== Code.UserWritesBlocked) throw error;
    }
    // Access control may have been switched off since the last probe.
    await this.probe();
    throw writesBlocked(this.#parts.label);
  }

  /** `{mayBypassWriteBlocking: true}` where the server takes it (access control off, 6.0 and later), else `{}`. */
  get field(): Doc {
    return this.#bypass ? { mayBypassWriteBlocking: true } : {};
  }

  /** The field is refused (6317500) where access control is on; before 6.0 the server does not know it (40415). */
  async probe(): Promise<void> {
    const { control, commands, knowsBlocks } = this.#parts;
    if (!knowsBlocks) return;
    try {
      await commands.run(control, 'admin', { ping: 1, mayBypassWriteBlocking: true }, {});
      this.#bypass = true;
    } catch (error) {
      if (isTransient(error) || codeOf(error) === undefined) throw error;
      this.#bypass = false;
    }
  }

  async #sendOnce(command: Doc, send: (command: Doc) => Promise<Doc>): Promise<Doc> {
    try {
      return await send({ ...command, ...this.field });
    } catch (error) {
      if (codeOf(error) !== Code.MayNotBypassWriteBlocking || !this.#bypass) throw error;
      // Access control was switched on since the probe: the user's own privilege decides from here on.
      this.#bypass = false;
      return send(command);
    }
  }
}

/** Whether statements were refused since users' writes are blocked: such a reply says `ok: 1`. */
function holdsBlocked(reply: Doc): boolean {
  const errors = reply['writeErrors'] as { code?: unknown }[] | undefined;
  return errors?.some(({ code }) => Number(code) === Code.UserWritesBlocked) === true;
}
