/** One simulated migration, from a seed: its clusters, processes, users and operator, and what came of it. */
// The program loads it when it first writes: reading files takes real time, of which a simulation has none.
import 'mongodb/lib/cmap/commands.js';
import { Random } from '../support/workload-random.js';
import { CALM, type Fate } from './chaos.js';
import { FakeDeployment } from './deployment.js';
import { Mishaps } from './mishaps.js';
import { Operator } from './operator.js';
import { makePlan, type Plan } from './plan.js';
import type { Request } from './request.js';
import type { SimulatedProcess } from './simulated-process.js';
import { Stage, TICK_MS, type Verdict } from './stage.js';
import { Users } from './users.js';
import { enter, leave } from './virtual-globals.js';
import { SimulationError, type Tell, World } from './world.js';

/** How a simulated migration ended. */
export interface Outcome extends Verdict {
  readonly seed: number;
  /** What happened, one line each; made when it is asked for. */
  readonly steps: () => readonly string[];
  readonly events: number;
  readonly virtualMs: number;
  /** How often each kind of thing happened. */
  readonly befell: readonly (readonly [string, number])[];
}

/** What is told of it, and what of the seed's plan is otherwise. */
export interface Watching {
  /** Takes the program's log lines among the steps. */
  readonly logs?: boolean;
  /** And every command that reaches a cluster. */
  readonly commands?: boolean;
  readonly plan?: Partial<Plan>;
  /** What becomes of commands that are not left to chance; may do something to the cluster that they are sent to. */
  readonly script?: (request: Request, cluster: FakeDeployment) => Fate | undefined;
}

const LIMITS = { untilMs: 2 * 3600_000, events: 150_000 };
/** A process that stalls is told to stop when it wakes up. */
const MAX_STOP_MS = 150_000;

/** Runs the migration of a seed. Never rejects: whatever is wrong is the verdict. */
export async function simulate(seed: number, watching: Watching = {}): Promise<Outcome> {
  const world = new World();
  const random = new Random(seed);
  const chronicle = new Chronicle(world);
  world.tracesOrigins = watching.logs === true;
  enter(world, new Random(random.int(2 ** 31)));
  const unhandled = (error: unknown): void =>
    world.fail(new SimulationError(`unhandled rejection: ${String(error)}`, { cause: error }));
  process.on('unhandledRejection', unhandled);
  const { stackTraceLimit } = Error;
  // Errors are many, and nobody reads where they were made.
  if (watching.logs !== true) Error.stackTraceLimit = 0;
  try {
    const stage = setStage(world, random, chronicle.tell, watching);
    await run(stage);
    const verdict = stage.verdict ?? { verdict: 'BROKEN: it has no end', isExplained: false, details: [] };
    return { seed, ...verdict, ...chronicle.told };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const details = error instanceof Error ? [error.stack ?? ''] : [];
    return { seed, verdict: `BROKEN: ${text}`, isExplained: false, details, ...chronicle.told };
  } finally {
    process.off('unhandledRejection', unhandled);
    Error.stackTraceLimit = stackTraceLimit;
    leave();
  }
}

function setStage(world: World, random: Random, tell: Tell, watching: Watching): Stage {
  const plan = { ...makePlan(new Random(random.int(2 ** 31))), ...watching.plan };
  const make = (name: string): FakeDeployment =>
    new FakeDeployment({
      name,
      world,
      random: new Random(random.int(2 ** 31)),
      levels: CALM,
      tell,
      tellsCommands: watching.commands === true,
    });
  const clusters = [make('cluster0'), make('cluster1')] as const;
  const log = (line: string): void => tell(`  ${shortened(line)}`);
  const stage = new Stage({ world, random, tell, plan, clusters }, watching.logs === true ? log : undefined);
  tell(() => `plan ${JSON.stringify(plan)}`);
  new Users(stage).begin();
  for (const cluster of clusters) {
    cluster.chaos.levels = plan.levels;
    if (watching.script !== undefined) cluster.chaos.script = (request) => watching.script?.(request, cluster);
  }
  return stage;
}

async function run(stage: Stage): Promise<void> {
  const operator = new Operator(stage);
  const mishaps = new Mishaps(stage);
  const look = (): void => {
    stage.restartEnded((name, error) => operator.failed(name, error));
    if (stage.verdict === undefined) operator.look();
    if (stage.verdict === undefined) {
      mishaps.look();
      stage.later(TICK_MS, look);
    } else stopAll(stage);
  };
  stage.open(stage.plan.processes);
  stage.later(TICK_MS, look);
  await stage.world.run(LIMITS);
}

/** All processes are asked to stop, and must leave nothing behind. */
function stopAll(stage: Stage): void {
  const asked = stage.running;
  for (const process of asked) process.stop();
  const giveUpMs = stage.world.nowMs + MAX_STOP_MS;
  const look = (): void => {
    const isOver = stage.running.length === 0 || stage.world.nowMs > giveUpMs;
    if (!isOver) {
      stage.later(TICK_MS, look);
      return;
    }
    const left = asked.flatMap(leftBy);
    if (left.length > 0 && stage.verdict?.isExplained === true)
      stage.verdict = { verdict: 'LEFT BEHIND', isExplained: false, details: left };
    stage.world.finish();
  };
  stage.later(TICK_MS, look);
}

function leftBy(process: SimulatedProcess): string[] {
  const { name } = process.owner;
  if (process.isRunning) return [`${name} does not stop`];
  // One that was killed, or has ended with an error, ends with all it has.
  return process.end === 'stopped' ? process.leftovers.map((what) => `${name}: ${what}`) : [];
}

/** Notes what happens; texts are made only if somebody reads them. */
class Chronicle {
  readonly #world: World;
  readonly #lines: (() => string)[] = [];
  readonly #befell = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  readonly tell: Tell = (what, kind) => {
    if (kind !== undefined) this.#befell.set(kind, (this.#befell.get(kind) ?? 0) + 1);
    const { nowMs } = this.#world;
    this.#lines.push(() => `${(nowMs / 1000).toFixed(3).padStart(9)} ${typeof what === 'string' ? what : what()}`);
  };

  get told(): Pick<Outcome, 'steps' | 'events' | 'virtualMs' | 'befell'> {
    const { events, nowMs } = this.#world;
    return { steps: () => this.#lines.map((line) => line()), events, virtualMs: nowMs, befell: [...this.#befell] };
  }
}

/** A log line of the program as one of the steps. */
function shortened(line: string): string {
  const start = line.indexOf('{');
  const { level, componentName, message, error } = JSON.parse(line.slice(start)) as Record<string, unknown>;
  const cause = error === undefined ? '' : ` ${JSON.stringify(error)}`;
  return `${line.slice(0, start)}${String(level)} ${String(componentName)}: ${String(message)}${cause}`;
}
