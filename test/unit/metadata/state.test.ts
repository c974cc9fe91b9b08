import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { EVENTS, type MigrationEvent, STATES, type State, statesAccepting } from '../../../src/metadata/state.js';
import { StateMachine } from '../../../src/migration/machine.js';

/** The whole table, written a second time: a cell changed by mistake is seen here. */
const LEGAL: Readonly<Record<State, Partial<Record<MigrationEvent, State>>>> = {
  INITIALIZING: {},
  IDLE: { start: 'RUNNING' },
  RUNNING: { pause: 'PAUSED', commit: 'COMMITTING' },
  PAUSED: { resume: 'RUNNING' },
  COMMITTING: { committed: 'COMMITTED', commitGivenUp: 'RUNNING' },
  COMMITTED: { reverse: 'REVERSING' },
  REVERSING: { reversed: 'RUNNING', reverseGivenUp: 'COMMITTED' },
};

function machineIn(state: State): StateMachine {
  const machine = new StateMachine(() => undefined);
  if (state !== 'INITIALIZING') machine.recover(state);
  return machine;
}

for (const state of STATES) {
  for (const event of EVENTS) {
    const next = LEGAL[state][event];
    test(`${event} in ${state} ${next === undefined ? 'is refused, naming the state and what is needed' : `leads to ${next}`}`, async () => {
      const machine = machineIn(state);
      const stored: State[] = [];
      const moving = machine.move(event, async (to) => void stored.push(to));
      if (next === undefined) {
        const error: unknown = await moving.then(
          () => undefined,
          (reason: unknown) => reason,
        );
        assert.instance(error, AppError);
        assert.is((error as AppError).code, 'InvalidStateTransition');
        assert.match((error as AppError).message, state);
        for (const needed of statesAccepting(event)) assert.match((error as AppError).message, needed);
        assert.equal(stored, []);
        assert.is(machine.state, state);
      } else {
        await moving;
        assert.equal(stored, [next]);
        assert.is(machine.state, next);
      }
    });
  }
}

test('a move that cannot be stored has not happened and is not published', async () => {
  let published = 0;
  const machine = new StateMachine(() => published++);
  machine.recover('RUNNING');
  try {
    await machine.move('pause', () => Promise.reject(new Error('no majority')));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'no majority');
  }
  assert.is(machine.state, 'RUNNING');
  assert.is(published, 1);
});

test.run();
