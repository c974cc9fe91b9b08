/** Plans with much of one thing: what a fault of the program needs is often two rare things that meet. */
import type { Random } from '../support/workload-random.js';
import type { Plan } from './plan.js';

type Change = (random: Random, plan: Plan) => Partial<Plan>;

/** Changes of the catalog one after the other, and processes that are killed in the middle of one. */
const crashesInDdl: Change = (random, plan) => ({
  mix: 'catalog',
  stepMs: 20 + random.int(120),
  stepsDuring: 40 + random.int(40),
  killsAtCommand: 0.9,
  killedAt: 'structural',
  calmAfterMs: Math.max(plan.calmAfterMs, 40_000),
});

/** Writes of the same few documents that come late, also of a process that is no more. */
const lateDocuments: Change = (random, plan) => ({
  mix: 'documents',
  stepMs: 20 + random.int(60),
  stepsDuring: 60 + random.int(60),
  levels: { ...plan.levels, lateDocuments: 0.1 + random.next() * 0.3, longestLateMs: 60_000 },
  killsAtCommand: random.chance(0.5) ? 0.9 : 0,
  killedAt: 'documents',
  killsAtLate: true,
  calmAfterMs: Math.max(plan.calmAfterMs, 40_000),
});

/** Changes of the catalog that come late. */
const lateStructural: Change = (random, plan) => ({
  mix: 'catalog',
  stepMs: 20 + random.int(120),
  stepsDuring: 30 + random.int(40),
  levels: { ...plan.levels, lateStructural: 0.1 + random.next() * 0.4, longestLateMs: random.pick([20_000, 60_000]) },
  killsAtCommand: random.chance(0.5) ? 0.9 : 0,
  killedAt: 'structural',
  killsAtLate: true,
});

/** Primaries that do not know that they are none any more, while the catalog changes. */
const twoPrimaries: Change = (random, plan) => ({
  mix: 'catalog',
  stepMs: 40 + random.int(200),
  stepsDuring: 30 + random.int(40),
  failoversAtCatalog: 0.02 + random.next() * 0.13,
  stale: 0.9,
  levels: { ...plan.levels, replicationMs: random.pick([10, 300, 1000]) },
});

const ALL: readonly Change[] = [crashesInDdl, lateDocuments, lateStructural, twoPrimaries];

/** What of a plan is otherwise. */
export function focused(random: Random, plan: Plan): Partial<Plan> {
  return random.pick(ALL)(random, plan);
}
