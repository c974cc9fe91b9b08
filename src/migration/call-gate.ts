/** Lets operators' calls in: when the process can serve them, in their turn, and only while somebody waits for them. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import type { SerialQueue } from '../lib/serial-queue.js';
import { linkAbort, unlessAborted } from '../lib/signals.js';
import { deferred, type Task } from '../lib/tasks.js';
import type { FailureRecord } from '../metadata/records.js';
import { ChangedPlaces } from './helped.js';
import type { StateMachine } from './machine.js';
import type { Moves } from './moves.js';

/** What the gate looks at. */
export interface GateContext {
  readonly machine: StateMachine;
  /** Those connected so far. */
  readonly clusters: readonly Pick<Cluster, 'outage'>[];
  /** What the process waits for while INITIALIZING. */
  readonly waits: readonly string[];
  /** Whether this instance helps another one: calls are not carried out here then. */
  readonly isHelping?: boolean;
  readonly failure: FailureRecord | undefined;
  /** The process's. */
  readonly signal: AbortSignal;
}

/** Who calls, and what the call needs. */
export interface CallNeeds {
  /** Aborts when nobody waits for the answer any more. */
  readonly caller: AbortSignal | undefined;
  /** The clusters without which the call cannot go on; without it: all of them. */
  readonly clusters?: () => readonly Pick<Cluster, 'outage'>[];
}

/** How long a call goes on trying while a cluster does not answer. */
const PATIENCE_MS = 8000;
const PATIENCE_LOOK_MS = 500;
/** How long a call that comes too early waits for the process to be ready for it, and how often it looks. */
const EARLY_MS = 30_000;
const LOOK_MS = 50;

/**
 * A call that only reads ends when its caller goes. One that changes something is not begun any more then; once it has
 * begun it goes on, since half a start helps nobody. Errors of both: MigrationFailed and ShuttingDown while the process
 * cannot serve calls; ClusterUnreachable; the caller's reason.
 */
export class CallGate {
  readonly #context: GateContext;
  readonly #turns: SerialQueue;
  readonly #moves: Pick<Moves, 'assertOutcomesKnown'>;

  /** `turns`: those of all calls that change something. */
  constructor(context: GateContext, turns: SerialQueue, moves: Pick<Moves, 'assertOutcomesKnown'>) {
    this.#context = context;
    this.#turns = turns;
    this.#moves = moves;
  }

  /** Carries out a call that changes nothing, beside all others, once `isReady` says so. */
  async reading<T>(isReady: () => boolean, { caller, ...needs }: CallNeeds, call: Task<T>): Promise<T> {
    await this.#until(isReady, caller);
    caller?.throwIfAborted();
    return this.#carryOut(needs, call, caller);
  }

  /**
   * Carries out a call that changes something, one after the other, also those that come too early. Errors: also
   * OutcomeUnknown while it is not known what became of an earlier one; InvalidStateTransition while INITIALIZING.
   */
  async exclusive<T>({ caller, ...needs }: CallNeeds, call: Task<T>): Promise<T> {
    const called = performance.now();
    this.#moves.assertOutcomesKnown();
    caller?.throwIfAborted();
    const begun = deferred<void>();
    const turn = this.#turns.run(async () => {
      await this.#until(() => this.isInitialised || this.#context.isHelping === true, caller, called);
      if (this.#context.isHelping === true) throw new ChangedPlaces('this instance helps another one');
      caller?.throwIfAborted();
      // The call before may have left something open.
      this.#moves.assertOutcomesKnown();
      this.#refuseTooEarly();
      begun.resolve();
      return this.#carryOut(needs, call);
    });
    // Its turn may be long in coming; a caller that has gone does not wait for it.
    if (caller !== undefined) await unlessAborted(Promise.race([begun.promise, turn]), caller);
    return turn;
  }

  /** Whether the process knows what is on the clusters. */
  get isInitialised(): boolean {
    return this.#context.machine.state !== 'INITIALIZING';
  }

  /** Scripts start the process and call at once: what is asked of it too early waits a while instead of being refused. */
  async #until(isReady: () => boolean, caller: AbortSignal | undefined, called = performance.now()): Promise<void> {
    const isOver = (): boolean =>
      isReady() ||
      this.#context.failure !== undefined ||
      this.#context.signal.aborted ||
      caller?.aborted === true ||
      performance.now() - called > EARLY_MS;
    // A process that cannot run at all must not be kept up by who waits for it.
    while (!isOver()) await new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS).unref());
  }

  #refuseTooEarly(): void {
    const { machine, failure, signal, waits } = this.#context;
    if (this.isInitialised || failure !== undefined || signal.aborted) return;
    const why = waits.length === 0 ? '' : `: ${waits.join('; ')}`;
    const text = `the process is still INITIALIZING after ${EARLY_MS / 1000} s${why}. Call again when it is ready`;
    throw new AppError('InvalidStateTransition', text, { metadata: { state: machine.state } });
  }

  /**
   * Rejected while the process cannot serve it. Driver errors become ours. A call is not tried for as long as the
   * migration's own work: whoever waits for its answer is told after some seconds that a cluster which it needs is away.
   */
  async #carryOut<T>(needs: Pick<CallNeeds, 'clusters'>, call: Task<T>, caller?: AbortSignal): Promise<T> {
    const { failure, signal } = this.#context;
    if (failure !== undefined) throw failureError(failure);
    if (signal.aborted) throw new AppError('ShuttingDown', 'the process is stopping');
    using link = linkAbort(signal);
    const leave = (): void => link.abort(caller?.reason);
    caller?.addEventListener('abort', leave, { once: true });
    const started = performance.now();
    const timer = setInterval(() => {
      const clusters = needs.clusters?.() ?? this.#context.clusters;
      const outage = clusters.find((each) => each.outage !== undefined)?.outage;
      if (outage !== undefined && performance.now() - started > PATIENCE_MS)
        link.abort(new AppError('ClusterUnreachable', outage));
    }, PATIENCE_LOOK_MS);
    try {
      return await call(link.signal);
    } catch (error) {
      throw clusterError(error, 'carrying out the call');
    } finally {
      clearInterval(timer);
      caller?.removeEventListener('abort', leave);
    }
  }
}

/** What callers are told of a migration that has failed. */
export function failureError(failure: FailureRecord): AppError {
  return new AppError('MigrationFailed', `${failure.error}: ${failure.description}`);
}
