/** Virtual time: what happens in a simulation happens here, one event after the other, with no real waiting. */
import { EventQueue, type Scheduled } from './event-queue.js';

/**
 * Whose event it is. A process that is killed loses its events; one that is stopped (a stalled host) gets them later.
 * What a piece of code schedules belongs to whoever runs it.
 */
export class Owner {
  readonly name: string;
  isDead = false;
  /** Nothing of it happens before. */
  stalledUntilMs = 0;

  constructor(name: string) {
    this.name = name;
  }
}

interface Event extends Scheduled {
  readonly owner: Owner;
  run: (() => void) | undefined;
  /** Whether its process would not end before it. */
  isAwaited: boolean;
  /** Where it was made, if that is looked for. */
  readonly origin: string | undefined;
}

/** A timer that can be taken back. */
export interface Timer {
  cancel(): void;
  /** It keeps no process alive. */
  unref(): void;
}

/** Takes what happens, a line each; `kind`: what to count it as. */
export type Tell = (what: string | (() => string), kind?: string) => void;

/** An error that ends the simulation: the fakes do not know what they were asked, or the program hangs. */
export class SimulationError extends Error {}

/** Events of one loop turn of the real event loop: between two of them all promises that can settle have settled. */
const EVENTS_PER_TURN = 64;
/** 2023-11-14T22:13:20Z. */
export const EPOCH_MS = 1_700_000_000_000;

const realSetImmediate = setImmediate;

/** One simulation's time and events. */
export class World {
  readonly #queue = new EventQueue<Event>();
  /** Of the one who steers the simulation. */
  readonly outside = new Owner('outside');
  nowMs = 0;
  /** Whether it is noted where each event was made. */
  tracesOrigins = false;
  events = 0;
  #order = 0;
  #current: Owner = this.outside;
  #ended: { readonly error: unknown } | undefined;
  #isOver = false;

  /** Whose event is being run. */
  get current(): Owner {
    return this.#current;
  }

  /** Has `run` called `ms` milliseconds from now. */
  after(ms: number, run: () => void, owner: Owner = this.#current): Timer {
    const event: Event = {
      atMs: this.nowMs + Math.max(0, ms),
      order: this.#order++,
      owner,
      run,
      isAwaited: true,
      origin: this.#origin(),
    };
    this.#queue.push(event);
    return {
      cancel: () => {
        event.run = undefined;
      },
      unref: () => {
        event.isAwaited = false;
      },
    };
  }

  /** Ends the simulation with an error. */
  fail(error: unknown): void {
    this.#ended ??= { error };
  }

  /** Ends the simulation. */
  finish(): void {
    this.#isOver = true;
  }

  /** What is still to come that would keep somebody's process alive, by where it was made if that is known. */
  pendingOf(owner: Owner): string[] {
    return this.#queue
      .filter((event) => event.owner === owner && event.run !== undefined && event.isAwaited)
      .map(({ origin }) => origin ?? '');
  }

  #origin(): string | undefined {
    return this.tracesOrigins ? new Error().stack?.split('\n').slice(4, 10).join('') : undefined;
  }

  /** Runs events until `finish`. Errors: what `fail` was given; SimulationError when nothing happens any more, or too much. */
  async run(limits: { readonly untilMs: number; readonly events: number }): Promise<void> {
    await new Promise<void>((resolve) => {
      const turn = (): void => {
        if (this.#isOver || this.#ended !== undefined) {
          resolve();
          return;
        }
        // Promises settle between any two immediates of one turn, as between two events of a real program.
        for (let count = 0; count < EVENTS_PER_TURN; count++) realSetImmediate(() => this.#step(limits));
        realSetImmediate(turn);
      };
      turn();
    });
    if (this.#ended !== undefined) throw this.#ended.error;
  }

  #step({ untilMs, events }: { readonly untilMs: number; readonly events: number }): void {
    if (this.#isOver || this.#ended !== undefined) return;
    const event = this.#next();
    if (event === undefined) this.fail(new SimulationError('nothing is left to happen'));
    else if (event.atMs > untilMs) this.fail(new SimulationError(`not over after ${untilMs / 1000} s`));
    else if (++this.events > events) this.fail(new SimulationError(`not over after ${events} events`));
    else this.#happen(event);
  }

  #happen(event: Event): void {
    this.nowMs = event.atMs;
    this.#current = event.owner;
    try {
      event.run?.();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The next event of somebody who is alive; those of somebody who is stopped are put off. */
  #next(): Event | undefined {
    for (;;) {
      const event = this.#queue.pop();
      if (event === undefined) return undefined;
      const { owner } = event;
      if (event.run === undefined || owner.isDead) continue;
      if (owner.stalledUntilMs <= event.atMs) return event;
      event.atMs = owner.stalledUntilMs;
      this.#queue.push(event);
    }
  }
}
