/** Carries out the moves that operators' calls ask for, so that what a caller is told is true afterwards. */
import { isMaybeSent } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import type { SerialQueue } from '../lib/serial-queue.js';
import { linkAbort } from '../lib/signals.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { MigrationEvent, RecordedState } from '../metadata/state.js';
import type { RecordChanges } from '../metadata/store.js';
import type { HeldMigration } from '../start/held-migration.js';
import type { StateMachine } from './machine.js';

/** One move: what is stored, and what follows from that. */
export interface Move {
  readonly event: MigrationEvent;
  readonly held: HeldMigration;
  readonly changes: (state: RecordedState) => RecordChanges;
  /** Whether a record has the changes. */
  readonly isStored: (record: MigrationRecord) => boolean;
  /** Once it is stored, before the new state is shown. */
  readonly stored?: () => void;
  /** Goes on in the new state. */
  readonly begin: () => void;
  /** It is not stored, and never will be. */
  readonly undo?: () => Promise<void>;
}

/** What moves act on. */
export interface MoveHost {
  readonly machine: StateMachine;
  readonly reporter: { unknownOutcome(warning: string | undefined): void };
  readonly logger: Logger;
  /** The process's. */
  readonly signal: AbortSignal;
  /** The process cannot go on. */
  die(error: unknown): void;
}

/** A caller waits so long for the answer to be found, in milliseconds. */
const READ_BACK_MS = 3000;

/**
 * An answer that is lost says nothing: the record may hold the change. So the lost write is first made void (or found
 * to have been carried out, by `resolveLostWrites`), then the record is read: what it says is final. Where that cannot be
 * done at once the caller is told OutcomeUnknown, progress shows a warning, other calls are refused, and it is done as
 * soon as the cluster answers.
 */
export class Moves {
  readonly #host: MoveHost;
  /** The turns of all calls: what is still to be settled comes before the next one. */
  readonly #turns: SerialQueue;
  readonly #unknownOutcomes = new Set<{ readonly text: string }>();

  constructor(host: MoveHost, turns: SerialQueue) {
    this.#host = host;
    this.#turns = turns;
  }

  /** Errors: OutcomeUnknown while it is not known what became of an earlier call. */
  assertOutcomesKnown(): void {
    const [first] = this.#unknownOutcomes;
    if (first !== undefined) throw new AppError('OutcomeUnknown', first.text);
  }

  /** Errors: InvalidStateTransition; OutcomeUnknown; what kept it from being stored, and then it never will be. */
  async carryOut(move: Move, signal: AbortSignal): Promise<void> {
    const { machine } = this.#host;
    const { event, held, changes, stored, begin, undo } = move;
    machine.check(event);
    try {
      await machine.move(event, async (state) => {
        await held.record.update(changes(state), signal);
        stored?.();
      });
    } catch (error) {
      if (error instanceof AppError && error.code === 'LeaseLost') throw error;
      // What never left has not happened.
      if (!isMaybeSent(error) || !(await this.#isStoredNow(move, error))) {
        await undo?.();
        throw error;
      }
      await machine.move(event, async () => stored?.());
    }
    begin();
  }

  /**
   * Does what cannot be done now once it can: before the next call, which is refused until then. `text` tells callers
   * why. Resolves at once.
   */
  later(text: string, work: (signal: AbortSignal) => Promise<void>): void {
    const { reporter, signal } = this.#host;
    const own = { text };
    this.#unknownOutcomes.add(own);
    reporter.unknownOutcome(text);
    void this.#turns.run(async () => {
      try {
        await work(signal);
      } catch (error) {
        if (!signal.aborted) this.#host.die(error);
      } finally {
        this.#unknownOutcomes.delete(own);
        const [next] = this.#unknownOutcomes;
        reporter.unknownOutcome(next?.text);
      }
    });
  }

  async #isStoredNow(move: Move, reason: unknown): Promise<boolean> {
    const { logger, signal } = this.#host;
    using link = linkAbort(signal);
    const timer = setTimeout(() => link.abort(new Error('the cluster does not answer')), READ_BACK_MS);
    try {
      return await readBack(move, link.signal);
    } catch (cause) {
      signal.throwIfAborted();
      const { event, held } = move;
      const text = `it is not known yet whether ${event} has taken effect: ${AppError.from(reason).message}. This is known as soon as ${held.destination.label} answers: look at progress then, and call again if it has not taken effect`;
      logger.warn(text, { error: cause });
      this.later(text, (inner) => this.#settle(move, inner));
      throw new AppError('OutcomeUnknown', text, { cause: reason });
    } finally {
      clearTimeout(timer);
    }
  }

  async #settle(move: Move, signal: AbortSignal): Promise<void> {
    const { machine, logger } = this.#host;
    const { event, stored, begin, undo } = move;
    const isStored = await readBack(move, signal);
    logger.info(`The outcome of ${event} is known now`, { tookEffect: isStored });
    if (!isStored) return undo?.();
    await machine.move(event, async () => stored?.());
    begin();
  }
}

async function readBack({ held, isStored }: Move, signal: AbortSignal): Promise<boolean> {
  await held.destination.resolveLostWrites(signal);
  await held.record.refresh(signal);
  return isStored(held.record.value);
}
