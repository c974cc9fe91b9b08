/** What those who run a simulated migration share: its clusters, its processes, its time, and what is told of it. */
import type { AppError } from '../../src/errors.js';
import type { Random } from '../support/workload-random.js';
import type { FakeDeployment } from './deployment.js';
import type { Plan } from './plan.js';
import { SimulatedProcess } from './simulated-process.js';
import type { Tell, World } from './world.js';

/** How often the operator looks, and what is to happen by chance is drawn, in milliseconds. */
export const TICK_MS = 400;

/** What a migration came to. */
export interface Verdict {
  readonly verdict: string;
  readonly isExplained: boolean;
  readonly details: readonly string[];
}

/** The stage of one migration. */
export class Stage {
  readonly world: World;
  readonly random: Random;
  readonly tell: Tell;
  readonly plan: Plan;
  readonly clusters: readonly [FakeDeployment, FakeDeployment];
  /** Takes the program's log lines; undefined: they are not made. */
  readonly #log: ((line: string) => void) | undefined;
  /** The cluster that users write to, and whether they do. */
  source: FakeDeployment;
  usersStop = false;
  stepsLeft: number;
  /** When the migration was first asked to start; undefined before. */
  startedMs: number | undefined;
  /** Nothing goes wrong any more. */
  isCalm = false;
  verdict: Verdict | undefined;
  /** A call is under way. */
  calling = false;
  /** Of the write that somebody has planted on the destination: what, and the cluster time. */
  planted: { readonly what: string; readonly time: number } | undefined;
  readonly #processes: (SimulatedProcess | undefined)[] = [];
  #made = 0;

  constructor(parts: Pick<Stage, 'world' | 'random' | 'tell' | 'plan' | 'clusters'>, log?: (line: string) => void) {
    this.world = parts.world;
    this.random = parts.random;
    this.tell = parts.tell;
    this.plan = parts.plan;
    this.clusters = parts.clusters;
    this.#log = log;
    this.source = parts.clusters[0];
    this.stepsLeft = parts.plan.stepsDuring;
  }

  /** The cluster that users do not write to. */
  get destination(): FakeDeployment {
    const [cluster0, cluster1] = this.clusters;
    return this.source === cluster0 ? cluster1 : cluster0;
  }

  get running(): SimulatedProcess[] {
    return this.#processes.filter((each): each is SimulatedProcess => each?.isRunning === true);
  }

  /** Has `work` done later, by nobody in particular. */
  later(ms: number, work: () => void): void {
    this.world.after(ms, work, this.world.outside);
  }

  /** Starts so many processes beside each other. */
  open(processes: number): void {
    for (let slot = 0; slot < processes; slot++) this.#processes[slot] = this.#newProcess();
  }

  /** Starts those again that have ended, after a while. `onFailed`: one has ended with what no restart mends. */
  restartEnded(onFailed: (name: string, error: AppError) => void): void {
    for (const [slot, process] of this.#processes.entries()) {
      if (process === undefined || process.isRunning) continue;
      this.#processes[slot] = undefined;
      this.calling = false;
      const { end } = process;
      this.tell(`${process.owner.name} has ended: ${typeof end === 'string' ? end : `${end.code}: ${end.message}`}`);
      // No restart mends an error that the program does not know, even where it helps.
      if (typeof end !== 'string' && (end.row.exit !== 1 || end.code === 'Internal')) {
        onFailed(process.migration.snapshot().failure?.error ?? end.code, end);
      }
      this.later(100 + this.random.int(3000), () => {
        if (this.verdict === undefined) this.#processes[slot] = this.#newProcess();
      });
    }
  }

  #newProcess(): SimulatedProcess {
    const name = `process ${++this.#made}`;
    const { world, plan, random } = this;
    const [cluster0, cluster1] = this.clusters;
    this.tell(`${name} starts`);
    const { loadLevel, disableVerification } = plan;
    const log = this.#log === undefined ? undefined : (line: string) => this.#log?.(`${name}: ${line}`);
    const made = new SimulatedProcess({ world, name, cluster0, cluster1, loadLevel, disableVerification, log });
    if (!this.isCalm && random.chance(plan.killsAtCommand)) {
      const { killedAt, killsAtLate } = plan;
      const moment = killsAtLate ? 'late' : random.chance(0.5) ? 'after' : 'before';
      const last = killsAtLate ? 2 : killedAt === 'any' ? random.pick([50, 300, 700]) : 12;
      made.killAt(1 + random.int(last), killedAt, moment);
    }
    return made;
  }
}
