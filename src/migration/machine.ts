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

  /** The state an event leads to. Errors: InvalidStateTransition. */
  check(event: MigrationEvent): RecordedState {
    const next = TRANSITIONS[this.#state][event];
    if (next === undefined) {
      throw new AppError(
        'InvalidStateTransition',
        `${event} is not permitted in state ${this.#state}; it needs ${statesAccepting(event).join(' or ')}`,
        {
          metadata: { state: this.#state, needed: statesAccepting(event).join(',') },
        },
      );
    }
    return next;
  }

  async move(event: MigrationEvent, persist: (next: RecordedState) => Promise<void>): Promise<void> {
    const next = this.check(event);
    await persist(next);
    this.#state = next;
    this.#publish();
  }
}
