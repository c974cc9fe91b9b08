/**
 * Declares the states of a migration and every legal move between them, as data. Pure: no clock, no I/O.
 * Source: docs/states.md. machine.ts is the only writer of the state.
 */

/**
 * - INITIALIZING: the process is reading what an earlier one left. Ends by itself.
 * - IDLE: no migration. Ended by start.
 * - RUNNING: copying or applying change events. Ended by pause, or by commit while canCommit.
 * - PAUSED: nothing is read or written. Ended by resume.
 * - COMMITTING: the commit's steps run. Ends by itself: in COMMITTED, or in RUNNING when the source cannot be blocked.
 * - COMMITTED: the destination belongs to its applications. Ended by reverse, if reversible.
 * - REVERSING: the direction is being turned around. Ends by itself: in RUNNING, or in COMMITTED when it cannot be done.
 */
export const STATES = ['INITIALIZING', 'IDLE', 'RUNNING', 'PAUSED', 'COMMITTING', 'COMMITTED', 'REVERSING'] as const;
export type State = (typeof STATES)[number];

/** The states in which there is a migration, and a record of it. */
export type RecordedState = Exclude<State, 'INITIALIZING' | 'IDLE'>;

/** What can move a migration: an operator's call, or (`…ed`) the engine's own end of a step. */
export const EVENTS = [
  'start',
  'pause',
  'resume',
  'commit',
  'committed',
  'commitGivenUp',
  'reverse',
  'reversed',
  'reverseGivenUp',
] as const;
export type MigrationEvent = (typeof EVENTS)[number];

/** Every cell is written out, so that a new state or event does not compile until each pair is decided. */
export const TRANSITIONS: Readonly<Record<State, Readonly<Record<MigrationEvent, RecordedState | undefined>>>> = {
  INITIALIZING: {
    start: undefined,
    pause: undefined,
    resume: undefined,
    commit: undefined,
    committed: undefined,
    commitGivenUp: undefined,
    reverse: undefined,
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  IDLE: {
    start: 'RUNNING',
    pause: undefined,
    resume: undefined,
    commit: undefined,
    committed: undefined,
    commitGivenUp: undefined,
    reverse: undefined,
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  RUNNING: {
    start: undefined,
    pause: 'PAUSED',
    resume: undefined,
    commit: 'COMMITTING',
    committed: undefined,
    commitGivenUp: undefined,
    reverse: undefined,
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  PAUSED: {
    start: undefined,
    pause: undefined,
    resume: 'RUNNING',
    commit: undefined,
    committed: undefined,
    commitGivenUp: undefined,
    reverse: undefined,
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  COMMITTING: {
    start: undefined,
    pause: undefined,
    resume: undefined,
    commit: undefined,
    committed: 'COMMITTED',
    commitGivenUp: 'RUNNING',
    reverse: undefined,
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  COMMITTED: {
    start: undefined,
    pause: undefined,
    resume: undefined,
    commit: undefined,
    committed: undefined,
    commitGivenUp: undefined,
    reverse: 'REVERSING',
    reversed: undefined,
    reverseGivenUp: undefined,
  },
  REVERSING: {
    start: undefined,
    pause: undefined,
    resume: undefined,
    commit: undefined,
    committed: undefined,
    commitGivenUp: undefined,
    reverse: undefined,
    reversed: 'RUNNING',
    reverseGivenUp: 'COMMITTED',
  },
};

/** The states in which an event is legal, for the text of a refusal. */
export function statesAccepting(event: MigrationEvent): State[] {
  return STATES.filter((state) => TRANSITIONS[state][event] !== undefined);
}
