/** What the simulator has found, each as the shortest migration that shows it. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_START } from '../support/migration-harness.js';
import { CALM } from './chaos.js';
import type { Plan } from './plan.js';
import type { Doc, Request } from './request.js';
import { simulate } from './simulation.js';

/** Nothing happens by chance but what the users do. */
const QUIET: Partial<Plan> = {
  levels: CALM,
  kills: 0,
  stalls: 0,
  stops: 0,
  failovers: 0,
  failoversAtCatalog: 0,
  pauses: 0,
  killsAtCommand: 0,
  transactions: 0,
  plantsAfterMs: undefined,
  processes: 1,
};

function pipelineOf({ command }: Request): Doc {
  const updates = command['updates'];
  const [update] = (Array.isArray(updates) ? updates : []) as { u: unknown }[];
  const [stage] = Array.isArray(update?.u) ? (update.u as { $set?: Doc }[]) : [];
  return stage?.$set ?? {};
}

test('a reversal goes on when the answer to giving back the old lease is lost', async () => {
  let lost = 0;
  const plan = { ...QUIET, reversals: 1 };
  const start = { enableUserWriteBlocking: 'sourceAndDestination', reversible: true };
  const { verdict, virtualMs } = await simulate(7, {
    plan: { ...plan, start: { ...DEFAULT_START, ...start } },
    script: (request) => {
      const isRelease = request.name === 'update' && request.target === 'lease' && 'pid' in pipelineOf(request);
      const isTake = 'owner' in pipelineOf(request);
      return isRelease && !isTake && lost++ === 0 ? 'answerLost' : undefined;
    },
  });
  assert.is(verdict, 'equal');
  assert.is(lost > 0, true);
  assert.ok(virtualMs < 120_000, `it took ${virtualMs} ms`);
});

test('collections that are created while an old primary goes on answering are found', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    let isFirst = true;
    const { verdict, details } = await simulate(seed, {
      plan: { ...QUIET, reversals: 0 },
      script: (request, cluster) => {
        if (request.name === 'create' && isFirst) {
          isFirst = false;
          cluster.failOver(1, 5000);
        }
        return undefined;
      },
    });
    assert.is(verdict, 'equal', `seed ${seed}: ${details.join()}`);
  }
});

test('a cursor whose server has no primary for longer than its closing may take ends nothing', async () => {
  let isFirst = true;
  const { verdict, details } = await simulate(1, {
    plan: { ...QUIET, reversals: 0 },
    script: ({ name, target }, cluster) => {
      if (name !== 'getMore' || target !== '$cmd.aggregate' || !isFirst) return undefined;
      isFirst = false;
      cluster.failOver(4000);
      return undefined;
    },
  });
  assert.is(verdict, 'equal', details.join());
});

test('a look for a lost command that nobody answers in time is tried again', async () => {
  let hasLost = false;
  let hasFailedOver = false;
  const { verdict, details } = await simulate(1, {
    plan: { ...QUIET, reversals: 0 },
    script: ({ name, target }, cluster) => {
      if (name === 'create' && !hasLost) {
        hasLost = true;
        return 'requestLost';
      }
      // Looks among the connections of a primary that gives no answer any more.
      if (hasLost && !hasFailedOver && name === 'aggregate' && target === '1') {
        hasFailedOver = true;
        cluster.failOver(1, 15_000);
      }
      return undefined;
    },
  });
  assert.is(hasFailedOver, true);
  assert.is(verdict, 'equal', details.join());
});

test('a start that cannot undo an earlier one gives its lease back once it can', async () => {
  for (let seed = 1; seed <= 8; seed++) {
    let blocks = 0;
    let drops = 0;
    const { verdict, details } = await simulate(seed, {
      plan: {
        ...QUIET,
        start: { ...DEFAULT_START, enableUserWriteBlocking: 'destinationOnly' },
        reversals: 0,
        processes: 2,
        levels: { ...CALM, lateMs: [[30_000, 34_000]] },
        // The one that starts is killed at its block of writes; the other one undoes that.
        killsAtCommand: 1,
        killedAt: 'structural',
        killsAtLate: true,
      },
      script: ({ name, target }) => {
        if (name === 'setUserWriteBlockMode' && blocks++ === 0) return 'late';
        return name === 'drop' && target === 'schema' && drops++ === 0 ? 'late' : undefined;
      },
    });
    assert.is(verdict, 'equal', `seed ${seed}: ${details.join()}`);
  }
});

test('what a run has stored without hearing of it is known to the next, also after another change of the record', async () => {
  let hasStored = false;
  let hasPaused = false;
  let isInitialised = false;
  let deleted = 0;
  const { verdict } = await simulate(1, {
    plan: { ...QUIET, reversals: 0, pauses: 3, calmAfterMs: 5000 },
    script: (request) => {
      const { name, target, command } = request;
      if (name === 'delete' && target === 'collections' && hasStored && !isInitialised) deleted++;
      if (name !== 'update' || target !== 'migration') return undefined;
      const [update] = command['updates'] as { u: { $set?: Doc } }[];
      const isStart = update?.u.$set?.['startTime'] !== undefined;
      hasPaused ||= hasStored && update?.u.$set?.['state'] === 'PAUSED';
      hasStored ||= isStart;
      isInitialised ||= update?.u.$set?.['phase'] === 'copy';
      return isStart && !hasPaused ? 'answerLost' : undefined;
    },
  });
  assert.is(verdict, 'equal');
  assert.is(hasPaused, true);
  // The records of a catalog that has a start time are of use.
  assert.is(deleted, 0);
});

test('a collection is not taken for the one of an earlier try that is rolled back', async () => {
  // Of these the client that lists is the last one to hear of the next primary.
  for (const seed of [19, 56, 68, 93]) {
    let isApplying = false;
    let creates = 0;
    const { verdict, details } = await simulate(seed, {
      plan: { ...QUIET, reversals: 0, mix: 'catalog', stepsDuring: 80, stepMs: 200, commitsEarly: 0 },
      script: ({ name, target }, cluster) => {
        isApplying ||= name === 'update' && target === 'ddl';
        if (name !== 'create' || !isApplying || creates++ > 1) return undefined;
        cluster.stallReplication(1000);
        cluster.world.after(2, () => cluster.failOver(1, 5000), cluster.owner);
        return undefined;
      },
    });
    assert.is(verdict, 'equal', `seed ${seed}: ${details.join()}`);
  }
});

test.run();
