/** Changes the state of the process's migration: the only writer of the state. */
import { AppError } from '../errors.js';
import {
  type MigrationEvent,
  type RecordedState,
  type State,
  statesAccepting,
  TRANSITIONS,
} from '../metadata/state.js';

/**
 * The only writer of a migration's state. A move is checked, stored, then published, in that order and one at a time:
 * a move that cannot be stored has not happened.
 */
export class StateMachine {
  #state: State = 'INITIALIZING';
  readonly #publish: () => void;

  constructor(publish: () => void) {
    this.#publish = publish;
  }

  get state(): State {
    return this.#state;
  }

  /** Takes over the state that the metadata holds. Errors: Internal when the state is not INITIALIZING. */
  recover(state: State): void {
    if (this.#state !== 'INITIALIZING')
      throw new AppError('Internal', `the state was recovered twice, in ${this.#state}`);
    this.#state = state;
    this.#publish();
  }

  /** Another instance has the migration now: what becomes of it is no longer this one's to say. */
  leave(): void {
    this.#state = 'INITIALIZING';
    this.#publish();
  }

  /** The state an event leads to. Errors: InvalidStateTransition. */
  check(event: MigrationEvent): RecordedState {
    return nextState(this.#state, event);
  }

  async move(event: MigrationEvent, persist: (next: RecordedState) => Promise<void>): Promise<void> {
    const next = this.check(event);
    await persist(next);
    this.#state = next;
    this.#publish();
  }
}

/** The state that an event leads to from another. Errors: InvalidStateTransition. */
export function nextState(state: State, event: MigrationEvent): RecordedState {
  const next = TRANSITIONS[state][event];
  if (next !== undefined) return next;
  const needed = statesAccepting(event);
  throw new AppError(
    'InvalidStateTransition',
    `${event} is not permitted in state ${state}; it needs ${needed.join(' or ')}`,
    { metadata: { state, needed: needed.join(',') } },
  );
}
