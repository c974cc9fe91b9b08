/** Plans with much of one thing: what a fault of the program needs is often two rare things that meet. */
import type { Random } from '../support/workload-random.js';
import { CALM } from './chaos.js';
import type { Plan } from './plan.js';

type Change = (random: Random, plan: Plan) => Partial<Plan>;

/** Changes of the catalog one after the other, and processes that are killed in the middle of one. */
const crashesInDdl: Change = (random, plan) => ({
  mix: 'catalog',
  stepMs: 20 + random.int(120),
  stepsDuring: 40 + random.int(40),
  commitsEarly: 0.002,
  killsAtCommand: 0.9,
  killedAt: 'structural',
  calmAfterMs: Math.max(plan.calmAfterMs, 40_000),
});

/** Nothing else hinders the one thing. */
const ALONE: Partial<Plan> = { kills: 0, stalls: 0, stops: 0, failovers: 0, pauses: 0 };

const SOON = [
  [0, 200],
  [0, 2000],
] as const;
/** Another process has taken over by then. */
const AFTER_A_LEASE = [[30_000, 60_000]] as const;

/** Writes of the same few documents that come late: soon after others, or after a process that was killed at one. */
const lateDocuments: Change = (random, plan) => {
  const isSoon = random.chance(0.5);
  return {
    ...ALONE,
    mix: 'documents',
    stepMs: isSoon ? 20 + random.int(60) : 300 + random.int(500),
    stepsDuring: 80 + random.int(80),
    commitsEarly: 0.002,
    levels: {
      ...plan.levels,
      lateDocuments: (isSoon ? 0.1 : 0.3) + random.next() * 0.3,
      lateMs: isSoon ? SOON : AFTER_A_LEASE,
    },
    killsAtCommand: isSoon ? 0 : 0.8,
    killedAt: 'documents',
    killsAtLate: true,
    calmAfterMs: 40_000 + random.int(40_000),
  };
};

/** Changes of the catalog that come late, likewise. */
const lateStructural: Change = (random, plan) => {
  const isSoon = random.chance(0.5);
  return {
    ...ALONE,
    mix: 'catalog',
    stepMs: isSoon ? 50 + random.int(100) : 300 + random.int(500),
    stepsDuring: 60 + random.int(60),
    commitsEarly: 0.002,
    levels: {
      ...plan.levels,
      lateStructural: 0.1 + random.next() * 0.4,
      lateMs: isSoon ? CALM.lateMs : AFTER_A_LEASE,
    },
    killsAtCommand: isSoon ? 0 : 0.8,
    killedAt: 'structural',
    killsAtLate: true,
    calmAfterMs: 40_000 + random.int(40_000),
  };
};

/** Primaries that do not know that they are none any more, while the catalog changes. */
const twoPrimaries: Change = (random, plan) => ({
  mix: 'catalog',
  stepMs: 50 + random.int(300),
  stepsDuring: 40 + random.int(60),
  commitsEarly: 0.002,
  failoversAtCatalog: 0.05 + random.next() * 0.3,
  stale: 0.9,
  levels: { ...plan.levels, replicationMs: random.pick([10, 300]) },
});

const ALL: readonly Change[] = [crashesInDdl, lateDocuments, lateStructural, twoPrimaries];

/** What of a plan is otherwise. */
export function focused(random: Random, plan: Plan): Partial<Plan> {
  return random.pick(ALL)(random, plan);
}
