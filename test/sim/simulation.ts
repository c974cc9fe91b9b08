/** One simulated migration, from a seed: its clusters, processes, users and operator, and what came of it. */
import { AppError } from '../../src/errors.js';
import type { Snapshot } from '../../src/migration/control.js';
import { Random } from '../support/workload-random.js';
import { CALM } from './chaos.js';
import { FakeDeployment } from './deployment.js';
import { makePlan, type Plan } from './plan.js';
import { SimulatedProcess } from './simulated-process.js';
import { commitTime, differences, generationOf, storedRecord } from './verdict.js';
import { nextStep, runStep, type WorkloadStep } from './workload.js';
import { SimulationError, type Tell, World } from './world.js';
import { enter, leave } from './virtual-globals.js';

/** How a simulated migration ended. */
export interface Outcome {
  readonly seed: number;
  /** "equal", "failed: <name>", or "DIFFERENT: <why>". */
  readonly verdict: string;
  readonly isExplained: boolean;
  readonly details: readonly string[];
  /** What happened, one line each. */
  readonly steps: () => readonly string[];
  readonly events: number;
  readonly virtualMs: number;
  /** How often each kind of thing went wrong. */
  readonly befell: readonly (readonly [string, number])[];
}

/** What is told while it runs. */
export interface Watching {
  /** Takes the program's log lines among the steps. */
  readonly logs: boolean;
  /** And every command that reaches a cluster. */
  readonly commands?: boolean;
}

const TICK_MS = 400;
const LIMITS = { untilMs: 2 * 3600_000, events: 100_000 };

/** Runs the migration of a seed. Never rejects: whatever is wrong is the verdict. */
export async function simulate(seed: number, watching: Watching = { logs: false }): Promise<Outcome> {
  const world = new World();
  const befell = new Map<string, number>();
  const lines: (() => string)[] = [];
  const tell: Tell = (what, kind) => {
    if (kind !== undefined) befell.set(kind, (befell.get(kind) ?? 0) + 1);
    const { nowMs } = world;
    // Made into text only if somebody reads it.
    lines.push(() => `${(nowMs / 1000).toFixed(3).padStart(9)} ${typeof what === 'string' ? what : what()}`);
  };
  const random = new Random(seed);
  enter(world, new Random(random.int(2 ** 31)));
  const unhandled = (error: unknown): void => world.fail(new SimulationError(`unhandled rejection: ${String(error)}`, { cause: error }));
  process.on('unhandledRejection', unhandled);
  const { stackTraceLimit } = Error;
  // Errors are many, and nobody reads where they were made.
  if (!watching.logs) Error.stackTraceLimit = 0;
  const simulation = new Simulation({ world, random, tell, watching });
  const end = (verdict: string, isExplained: boolean, details: readonly string[] = []): Outcome => {
    return { seed, verdict, isExplained, details, steps: () => lines.map((line) => line()), events: world.events, virtualMs: world.nowMs, befell: [...befell] };
  };
  try {
    simulation.begin();
    await world.run(LIMITS);
    const { verdict, details } = simulation.verdict;
    return end(verdict, !verdict.startsWith('DIFFERENT'), details);
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return end(`BROKEN: ${error instanceof Error ? error.message : String(error)}`, false, [stack]);
  } finally {
    process.off('unhandledRejection', unhandled);
    Error.stackTraceLimit = stackTraceLimit;
    leave();
  }
}

interface SimulationParts {
  readonly world: World;
  readonly random: Random;
  readonly tell: Tell;
  readonly watching: Watching;
}

interface Verdict {
  readonly verdict: string;
  readonly details: readonly string[];
}

/** The one who runs it all: users, operator, and what befalls the machines. */
class Simulation {
  readonly #world: World;
  readonly #random: Random;
  readonly #tell: Tell;
  readonly #watching: Watching;
  readonly #plan: Plan;
  readonly #clusters: readonly [FakeDeployment, FakeDeployment];
  readonly #processes: (SimulatedProcess | undefined)[] = [];
  #made = 0;
  /** The cluster that users write to. */
  #source: FakeDeployment;
  #stepsLeft: number;
  #reversalsLeft: number;
  #isStarted = false;
  #isCalm = false;
  #startedMs = 0;
  #calling = false;
  #lastState = '';
  #lastObstacle = '';
  /** The highest generation that was compared. */
  #compared = -1;
  #usersStop = false;
  verdict: Verdict = { verdict: 'BROKEN: not over', details: [] };
  #isEnding = false;

  constructor({ world, random, tell, watching }: SimulationParts) {
    this.#world = world;
    this.#random = random;
    this.#tell = tell;
    this.#watching = watching;
    this.#plan = makePlan(new Random(random.int(2 ** 31)));
    const make = (name: string): FakeDeployment =>
      new FakeDeployment({ name, world, random: new Random(random.int(2 ** 31)), levels: CALM, tell, tellsCommands: watching.commands === true });
    this.#clusters = [make('cluster0'), make('cluster1')];
    this.#source = this.#clusters[0];
    this.#stepsLeft = this.#plan.stepsDuring;
    this.#reversalsLeft = this.#plan.reversals;
  }

  begin(): void {
    const { stepsBefore, levels, processes } = this.#plan;
    this.#tell(() => `plan ${JSON.stringify(this.#plan)}`);
    for (let count = 0; count < stepsBefore; count++) this.#step();
    for (const cluster of this.#clusters) cluster.chaos.levels = levels;
    for (let slot = 0; slot < processes; slot++) this.#processes.push(this.#newProcess());
    this.#world.after(TICK_MS, () => this.#tick(), this.#world.outside);
    this.#world.after(this.#plan.stepMs, () => this.#keepStepping(), this.#world.outside);
  }

  get #running(): SimulatedProcess[] {
    return this.#processes.filter((each): each is SimulatedProcess => each?.isRunning === true);
  }

  #newProcess(): SimulatedProcess {
    const name = `process ${++this.#made}`;
    const [cluster0, cluster1] = this.#clusters;
    this.#tell(`${name} starts`);
    return new SimulatedProcess({
      world: this.#world,
      name,
      cluster0,
      cluster1,
      loadLevel: this.#plan.loadLevel,
      disableVerification: this.#plan.disableVerification,
      log: this.#watching.logs ? (line) => this.#tell(`  ${name}: ${shortened(line)}`) : undefined,
    });
  }

  #keepStepping(): void {
    if (this.#isStarted && !this.#usersStop && this.#stepsLeft > 0 && this.#source.primary !== undefined) {
      this.#stepsLeft--;
      this.#step();
    }
    const ms = this.#plan.stepMs * 2 * this.#random.next();
    this.#world.after(ms, () => this.#keepStepping(), this.#world.outside);
  }

  #step(): void {
    const step = nextStep(this.#source.server, this.#random);
    if (step === undefined) return;
    const { name, server } = this.#source;
    const codes = runStep(server, step).filter((code) => code !== 0);
    const refused = codes.length === 0 ? '' : ` refused: ${codes.join()}`;
    this.#tell(() => `users of ${name}: ${textOf(step)}${refused}`, 'operations of users');
  }

  /** What the operator sees and does. */
  #tick(): void {
    if (this.#isEnding) return;
    this.#restartEnded();
    const running = this.#running.map((each) => ({ process: each, snapshot: each.migration.snapshot() }));
    const isAtWork = ({ snapshot: { state } }: { readonly snapshot: Snapshot }): boolean =>
      state !== 'INITIALIZING' && state !== 'IDLE';
    const chosen = running.find(isAtWork) ?? running[0];
    if (chosen !== undefined) this.#operate(chosen.process, chosen.snapshot);
    if (!this.#isEnding) this.#befall();
    this.#world.after(TICK_MS, () => this.#tick(), this.#world.outside);
  }

  #restartEnded(): void {
    for (const [slot, process] of this.#processes.entries()) {
      if (process === undefined || process.isRunning) continue;
      this.#processes[slot] = undefined;
      const { end } = process;
      this.#calling = false;
      this.#tell(`${process.owner.name} has ended: ${end instanceof AppError ? `${end.code}: ${end.message}` : end}`);
      if (end instanceof AppError && end.row.exit !== 1) return this.#failed(end);
      const ms = 100 + this.#random.int(3000);
      this.#world.after(ms, () => this.#restart(slot), this.#world.outside);
    }
  }

  #restart(slot: number): void {
    if (!this.#isEnding) this.#processes[slot] = this.#newProcess();
  }

  #operate(process: SimulatedProcess, snapshot: Snapshot): void {
    if (snapshot.state !== this.#lastState) this.#tell(`${process.owner.name} is ${snapshot.state}`);
    this.#lastState = snapshot.state;
    this.#tellObstacle(snapshot);
    if (this.#calling) return;
    const call = this.#nextCall(snapshot);
    if (call === undefined) return;
    this.#calling = true;
    this.#tell(`${call} is called`, `calls of ${call}`);
    const ended = (text: string): void => {
      this.#tell(`${call}: ${text}`);
      this.#world.after(this.#random.int(1500), () => {
        this.#calling = false;
      }, this.#world.outside);
    };
    process.do(() => {
      const { migration } = process;
      const calling = call === 'start' ? migration.start(this.#plan.start) : migration[call]();
      calling.then(
        () => ended('done'),
        (error: unknown) => {
          ended(`${AppError.from(error).code}: ${AppError.from(error).message}`);
          // As the message says: it is another process that goes on with it.
          if (AppError.from(error).code === 'MigrationExists') process.stop();
        },
      );
    });
  }

  /** What stands against a commit, whenever that changes. */
  #tellObstacle({ commitObstacle, warnings }: Snapshot): void {
    const text = [commitObstacle, ...warnings].join('; ');
    if (text === this.#lastObstacle) return;
    this.#lastObstacle = text;
    if (text !== '') this.#tell(`it waits: ${text}`);
  }

  #nextCall(snapshot: Snapshot): 'start' | 'pause' | 'resume' | 'commit' | 'reverse' | undefined {
    const { state, canCommit } = snapshot;
    if (state === 'IDLE') {
      if (!this.#isStarted) this.#startedMs = this.#world.nowMs;
      this.#isStarted = true;
      return 'start';
    }
    if (state === 'PAUSED') return this.#isCalm || this.#random.chance(0.3) ? 'resume' : undefined;
    if (state === 'RUNNING') {
      if (!this.#isCalm && this.#random.chance(this.#plan.pauses * (TICK_MS / 1000))) return 'pause';
      return this.#mayCommit(canCommit) ? 'commit' : undefined;
    }
    if (state === 'COMMITTED') return this.#afterCommit();
    return undefined;
  }

  #mayCommit(canCommit: boolean): boolean {
    if (!canCommit) return !this.#isCalm && this.#random.chance(0.01);
    const isTime = this.#stepsLeft === 0 || this.#random.chance(0.1);
    if (!isTime) return false;
    if (this.#plan.stopsWritersFirst) this.#usersStop = true;
    return true;
  }

  /** Compares once in each direction; turns the direction around, again if the call before came to nothing. */
  #afterCommit(): 'reverse' | undefined {
    const generation = Math.max(...this.#clusters.map((each) => generationOf(storedRecord(each))));
    const [cluster0, cluster1] = this.#clusters;
    const [source, destination] = generation % 2 === 0 ? [cluster0, cluster1] : [cluster1, cluster0];
    if (generation <= this.#compared) return 'reverse';
    this.#usersStop = true;
    this.#compared = generation;
    const found = this.#compare(source, destination);
    this.#tell(`generation ${generation} is committed`, 'commits compared');
    if (found.length > 0 || this.#reversalsLeft === 0) {
      this.#finish(found.length === 0 ? 'equal' : 'DIFFERENT', found);
      return undefined;
    }
    this.#reversalsLeft--;
    this.#source = destination;
    this.#stepsLeft = this.#plan.stepsDuring;
    this.#usersStop = false;
    return 'reverse';
  }

  #compare(source: FakeDeployment, destination: FakeDeployment): string[] {
    const record = storedRecord(destination);
    const time = record === undefined ? undefined : commitTime(record);
    if (time === undefined) return ['the destination has no record of the commit'];
    return differences(source, destination, time);
  }

  /** Faults, by chance, until it is calm. */
  #befall(): void {
    if (!this.#isStarted || this.#isCalm) return;
    const { calmAfterMs, kills, stalls, stops, failovers } = this.#plan;
    if (this.#world.nowMs > this.#startedMs + calmAfterMs) return this.#calm();
    const random = this.#random;
    const isNow = (perSecond: number): boolean => perSecond > 0 && random.chance(perSecond * (TICK_MS / 1000));
    for (const process of this.#running) {
      if (isNow(kills)) {
        this.#tell(`${process.owner.name} is killed`, 'processes killed');
        process.kill();
      } else if (isNow(stalls)) {
        const ms = random.int(random.chance(0.3) ? 90_000 : 5000);
        this.#tell(`${process.owner.name} stalls for ${ms} ms`, 'processes stalled');
        process.stall(ms);
      } else if (isNow(stops)) {
        this.#tell(`${process.owner.name} is stopped`, 'processes stopped');
        process.stop();
      }
    }
    for (const cluster of this.#clusters) {
      if (!isNow(failovers)) continue;
      if (random.chance(0.5)) cluster.stallReplication(random.int(4000));
      const ms = random.int(3000);
      this.#world.after(ms, () => cluster.failOver(random.int(random.chance(0.2) ? 12_000 : 2000)), this.#world.outside);
    }
  }

  #calm(): void {
    this.#isCalm = true;
    this.#tell('from now on nothing goes wrong');
    for (const cluster of this.#clusters) cluster.chaos.levels = { ...CALM, splits: cluster.chaos.levels.splits };
  }

  #failed(error: AppError): void {
    const cause = error.code === 'MigrationFailed' ? (/^(?:this migration has failed before: )?(\w+)/.exec(error.message)?.[1] ?? '') : error.code;
    this.#finish(`DIFFERENT: failed with ${cause}`, [error.message]);
  }

  #finish(verdict: string, details: readonly string[]): void {
    this.#isEnding = true;
    this.verdict = { verdict, details };
    for (const process of this.#processes) process?.stop();
    const look = (tries: number): void => {
      if (this.#running.length === 0) return this.#world.finish();
      if (tries > 600) {
        this.verdict = { verdict: 'DIFFERENT: a process does not stop', details };
        return this.#world.finish();
      }
      this.#world.after(TICK_MS, () => look(tries + 1), this.#world.outside);
    };
    look(0);
  }
}

function textOf({ db, commands }: WorkloadStep): string {
  return `${db} ${commands.map((command) => JSON.stringify(command, plain)).join(' + ')}`;
}

function plain(_: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}

function shortened(line: string): string {
  const { level, componentName, message, error } = JSON.parse(line) as Record<string, unknown>;
  return `${String(level)} ${String(componentName)}: ${String(message)}${error === undefined ? '' : ` ${JSON.stringify(error)}`}`;
}
