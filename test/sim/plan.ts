/** What a seed stands for: how a simulated migration is run, and what befalls it. */
import type { StartOptions } from '../../src/start/options.js';
import { DEFAULT_START } from '../support/migration-harness.js';
import type { Random } from '../support/workload-random.js';
import { CALM, type ChaosLevels } from './chaos.js';
import { focused } from './focus.js';
import type { Mix } from './workload.js';

/** One migration's circumstances. Times are milliseconds. */
export interface Plan {
  readonly start: StartOptions;
  /** 1 to 4. */
  readonly loadLevel: number;
  readonly disableVerification: boolean;
  /** Steps before the migration starts, and while it runs. */
  readonly stepsBefore: number;
  readonly stepsDuring: number;
  /** Of a commit that is called while steps are left, at each look. */
  readonly commitsEarly: number;
  /** Between two steps, on average. */
  readonly stepMs: number;
  /** What the users do. */
  readonly mix: Mix;
  readonly levels: ChaosLevels;
  /** From when on nothing goes wrong any more, after the start. */
  readonly calmAfterMs: number;
  /** Of an action against a process, in each second until then. */
  readonly kills: number;
  /** Of a process that is killed while it sends a command, and of which kind that is. */
  readonly killsAtCommand: number;
  readonly killedAt: 'any' | 'structural' | 'documents';
  /** Whether that happens at one that comes late. */
  readonly killsAtLate: boolean;
  /** Of a transaction that somebody leaves open on the source. */
  readonly transactions: number;
  readonly stalls: number;
  readonly stops: number;
  readonly failovers: number;
  /** Of a failover at each command that reads or changes the catalog. */
  readonly failoversAtCatalog: number;
  /** Of an old primary that goes on answering. */
  readonly stale: number;
  readonly pauses: number;
  /** Processes that run beside each other. */
  readonly processes: number;
  /** Whether the users stop before the commit is called, as they must where nothing blocks them. */
  readonly stopsWritersFirst: boolean;
  /** When somebody writes to the destination who should not; undefined: nobody does. */
  readonly plantsAfterMs: number | undefined;
  /** Whether the operator has mismatches copied again. */
  readonly repairs: boolean;
  /** How often the direction is turned around after a commit. */
  readonly reversals: number;
}

/** How many of the migrations have much of what seldom meets by chance. */
const FOCUSED = 0.4;

/** The plan of one seed's random numbers. */
export function makePlan(random: Random): Plan {
  const plan = anyPlan(random);
  return random.chance(FOCUSED) ? { ...plan, ...focused(random, plan) } : plan;
}

function anyPlan(random: Random): Plan {
  const isCalm = random.chance(0.15);
  const reversals = random.chance(0.2) ? 1 + random.int(2) : 0;
  const start = startOptions(random, reversals > 0);
  const often = (probability: number, most: number): number =>
    !isCalm && random.chance(probability) ? random.next() * most : 0;
  return {
    start,
    loadLevel: 1 + random.int(3),
    disableVerification: random.chance(0.3),
    stepsBefore: 5 + random.int(30),
    stepsDuring: 10 + random.int(50),
    stepMs: 20 + random.int(200),
    commitsEarly: 0.1,
    mix: 'even',
    levels: isCalm ? CALM : randomLevels(random),
    calmAfterMs: 5000 + random.int(60_000),
    kills: often(0.3, 0.15),
    killsAtCommand: often(0.4, 1),
    killedAt: 'any',
    killsAtLate: false,
    transactions: often(0.1, 0.1),
    plantsAfterMs: reversals === 0 && random.chance(0.07) ? 500 + random.int(20_000) : undefined,
    stalls: often(0.3, 0.1),
    stops: often(0.2, 0.1),
    failovers: often(0.4, 0.15),
    failoversAtCatalog: 0,
    stale: 0.4,
    pauses: often(0.3, 0.2),
    repairs: random.chance(0.5),
    processes: random.chance(0.2) ? 2 : 1,
    stopsWritersFirst: start.enableUserWriteBlocking !== 'sourceAndDestination' || random.chance(0.5),
    reversals,
  };
}

function startOptions(random: Random, isReversible: boolean): StartOptions {
  const blocking = isReversible
    ? 'sourceAndDestination'
    : random.pick(['none', 'destinationOnly', 'sourceAndDestination']);
  return {
    ...DEFAULT_START,
    enableUserWriteBlocking: blocking,
    reversible: isReversible,
    ...(random.chance(0.3)
      ? { buildIndexes: random.pick(['afterDataCopy', 'beforeDataCopy', 'excludeHashed'].slice(0, 2)) }
      : {}),
    ...(random.chance(0.2) ? { copyInNaturalOrder: [{ database: '.', collections: [] }] } : {}),
  };
}

function randomLevels(random: Random): ChaosLevels {
  const sometimes = (probability: number, most: number): number =>
    random.chance(probability) ? random.next() * most : 0;
  return {
    splits: sometimes(0.5, 0.6),
    refusesBuild: sometimes(0.3, 0.5),
    longestBuildMs: random.pick([50, 500, 5000]),
    latencyMs: random.pick([0.5, 2, 20]),
    slow: sometimes(0.3, 0.02),
    losesRequest: sometimes(0.4, 0.03),
    losesAnswer: sometimes(0.5, 0.03),
    // Now and then many: a write that comes late does harm only where the next one has been before it.
    late: random.chance(0.1) ? random.next() * 0.2 : sometimes(0.4, 0.02),
    lateDocuments: 0,
    lateStructural: 0,
    lateMs: CALM.lateMs,
    writeConcern: sometimes(0.3, 0.03),
    interrupts: sometimes(0.3, 0.03),
    replicationMs: random.pick([1, 10, 300]),
  };
}
