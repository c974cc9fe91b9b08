/** The operator of a simulated migration: calls start, pause, resume, commit and reverse, again where it is unclear. */
import { AppError } from '../../src/errors.js';
import type { Snapshot } from '../../src/progress/control.js';
import type { FakeDeployment } from './deployment.js';
import type { SimulatedProcess } from './simulated-process.js';
import { type Stage, TICK_MS } from './stage.js';
import { commitTime, differences, generationOf, handoverTime, storedRecord } from './verdict.js';

type Call = 'start' | 'pause' | 'resume' | 'commit' | 'reverse' | 'repair';

/** Names by which a migration may fail once somebody has written to its destination. */
const CAUGHT = new Set(['VerificationFailed', 'DestinationModified', 'UniqueViolation', 'CatalogDiffers']);

/** Looks every now and then, and decides by what it sees. */
export class Operator {
  readonly #stage: Stage;
  #reversalsLeft: number;
  /** The highest generation that was compared. */
  #compared = -1;
  #lastState = '';
  #lastObstacle = '';

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#reversalsLeft = stage.plan.reversals;
  }

  /** Looks once. */
  look(): void {
    const running = this.#stage.running.map((process) => ({ process, snapshot: process.migration.snapshot() }));
    const isAtWork = ({ snapshot: { state } }: { readonly snapshot: Snapshot }): boolean =>
      state !== 'INITIALIZING' && state !== 'IDLE';
    const chosen = running.find(isAtWork) ?? running[0];
    if (chosen !== undefined) this.#operate(chosen.process, chosen.snapshot);
  }

  /** A process has ended with what no restart mends. */
  failed(name: string, error: AppError): void {
    const { planted } = this.#stage;
    if (planted !== undefined && CAUGHT.has(name))
      this.#end(`caught ${planted.what.replace(/ in .*/, '')}: ${name}`, true);
    else this.#end(`FAILED with ${name}`, false, [error.message]);
  }

  #end(verdict: string, isExplained: boolean, details: readonly string[] = []): void {
    this.#stage.verdict ??= { verdict, isExplained, details };
  }

  #operate(process: SimulatedProcess, snapshot: Snapshot): void {
    const { tell } = this.#stage;
    if (snapshot.state !== this.#lastState) tell(`${process.owner.name} is ${snapshot.state}`);
    this.#lastState = snapshot.state;
    this.#tellObstacle(snapshot);
    if (this.#stage.calling) return;
    const call = this.#nextCall(snapshot);
    if (call !== undefined) this.#call(process, call);
  }

  #call(process: SimulatedProcess, call: Call): void {
    const { tell, random, plan } = this.#stage;
    this.#stage.calling = true;
    tell(`${call} is called`, `calls of ${call}`);
    const ended = (error?: AppError): void => {
      tell(`${call}: ${error === undefined ? 'done' : `${error.code}: ${error.message}`}`);
      // One at the wrong moment, which was the right one by the time it arrived.
      if (call === 'commit' && error === undefined && plan.stopsWritersFirst) this.#stage.usersStop = true;
      this.#stage.later(random.int(1500), () => {
        this.#stage.calling = false;
      });
      // As the message says: it is another process that goes on with it.
      if (error?.code === 'MigrationExists') process.stop();
    };
    process.do(() => {
      const { migration } = process;
      const calling =
        call === 'start' ? migration.start(plan.start) : call === 'repair' ? migration.repair([]) : migration[call]();
      calling.then(
        () => ended(),
        (error: unknown) => ended(AppError.from(error)),
      );
    });
  }

  /** What stands against a commit, whenever that changes. */
  #tellObstacle({ commitObstacle, warnings }: Snapshot): void {
    const text = [commitObstacle, ...warnings].join('; ').replaceAll(/ for \d+ s/g, '');
    if (text === this.#lastObstacle) return;
    this.#lastObstacle = text;
    if (text !== '') this.#stage.tell(`it waits: ${text}`);
  }

  #nextCall({ state, canCommit, commitObstacle }: Snapshot): Call | undefined {
    const { isCalm, random, plan, world } = this.#stage;
    switch (state) {
      case 'IDLE':
        this.#stage.startedMs ??= world.nowMs;
        return 'start';
      case 'PAUSED':
        return isCalm || random.chance(0.3) ? 'resume' : undefined;
      case 'RUNNING':
        if (commitObstacle?.includes('mongoferry mismatches') === true) return this.#atMismatch();
        if (!isCalm && random.chance(plan.pauses * (TICK_MS / 1000))) return 'pause';
        return this.#mayCommit(canCommit) ? 'commit' : undefined;
      case 'COMMITTED':
        return this.#afterCommit();
      default:
        return undefined;
    }
  }

  /** Only what somebody has planted may differ. */
  #atMismatch(): 'repair' | undefined {
    const { planted } = this.#stage;
    if (planted === undefined) this.#end('DIFFERENT: a mismatch', false);
    else if (this.#stage.plan.repairs) return 'repair';
    else this.#end(`caught ${planted.what.replace(/ in .*/, '')}: shown as a mismatch`, true);
    return undefined;
  }

  #mayCommit(canCommit: boolean): boolean {
    const { isCalm, random, plan, stepsLeft } = this.#stage;
    if (!canCommit) return !isCalm && random.chance(0.01);
    if (stepsLeft > 0 && !random.chance(plan.commitsEarly)) return false;
    if (plan.stopsWritersFirst) this.#stage.usersStop = true;
    return true;
  }

  /** Compares once in each direction; turns the direction around, again if the call before came to nothing. */
  #afterCommit(): 'reverse' | undefined {
    const { clusters, plan, tell } = this.#stage;
    const generation = Math.max(...clusters.map((each) => generationOf(storedRecord(each))));
    const [source, destination] = generation % 2 === 0 ? clusters : clusters.toReversed();
    if (source === undefined || destination === undefined) return undefined;
    if (generation <= this.#compared) return 'reverse';
    this.#stage.usersStop = true;
    this.#compared = generation;
    tell(`generation ${generation} is committed`, 'commits compared');
    this.#judge(source, destination);
    if (this.#stage.verdict !== undefined) return undefined;
    if (this.#reversalsLeft === 0) {
      this.#end('equal', true);
      return undefined;
    }
    this.#reversalsLeft--;
    this.#stage.source = destination;
    this.#stage.stepsLeft = plan.stepsDuring;
    this.#stage.usersStop = false;
    return 'reverse';
  }

  #judge(source: FakeDeployment, destination: FakeDeployment): void {
    const { planted, plan } = this.#stage;
    const record = storedRecord(destination);
    const time = record === undefined ? undefined : commitTime(record);
    const found =
      time === undefined ? ['the destination has no record of the commit'] : differences(source, destination, time);
    if (found.length === 0) return;
    const handedOver = record === undefined ? undefined : handoverTime(record);
    const isOwners = planted !== undefined && handedOver !== undefined && planted.time > handedOver;
    if (isOwners) this.#end('equal but for a write after the handover', true);
    else if (planted !== undefined && plan.disableVerification)
      this.#end('differs as planted, and was not verified', true);
    else this.#end('DIFFERENT', false, found);
  }
}
