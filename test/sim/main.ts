/**
 * Runs simulated migrations, over all cores: `make sim SEED=1 COUNT=1000`. One alone (`COUNT=1`) prints its steps;
 * `LOG=1` the program's log lines among them, `COMMANDS=1` every command as well. Exit code 1: a difference that nothing explains.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Outcome, simulate } from './simulation.js';

/** What of an outcome a child tells its parent. */
type Told = Pick<Outcome, 'seed' | 'verdict' | 'isExplained' | 'details' | 'events' | 'virtualMs' | 'befell'>;

const SEEDS_PER_TURN = 20;
/** Each migration leaves a little in its process: after so many another one goes on. */
const SEEDS_PER_PROCESS = 4000;
/** Most of what a migration makes is gone at its end: what is young is given room. */
const ROOM = ['--max-semi-space-size=64', '--min-semi-space-size=64'];
const TOLD_EVERY_MS = 30_000;

const { SEED = '1', COUNT = '1000', JOBS, LOG, COMMANDS } = process.env;
const first = Number(SEED);
const count = Number(COUNT);
const out = (text: string): void => void process.stdout.write(`${text}\n`);

/** Simulates what it is told to, and tells what came of it. */
function beChild(): void {
  process.on('message', (seeds: readonly number[]) => {
    const run = async (): Promise<void> => {
      for (const seed of seeds) {
        const { steps: _, ...told } = await simulate(seed);
        process.send?.(told);
      }
      process.send?.('more');
    };
    run().catch((error: unknown) => {
      throw error;
    });
  });
  process.send?.('more');
}

async function one(): Promise<void> {
  const outcome = await simulate(first, { logs: LOG !== undefined, commands: COMMANDS !== undefined });
  for (const line of [...outcome.steps(), outcome.verdict, ...outcome.details]) out(line);
  process.exitCode = outcome.isExplained ? 0 : 1;
}

/** All seeds, shared among so many processes. */
async function many(jobs: number): Promise<void> {
  const began = performance.now();
  const tally = new Tally();
  let next = first;
  const take = (): number[] => {
    const seeds = Array.from({ length: Math.max(0, Math.min(SEEDS_PER_TURN, first + count - next)) }, () => next++);
    return seeds;
  };
  const timer = setInterval(() => out(tally.line(performance.now() - began, jobs)), TOLD_EVERY_MS);
  await Promise.all(Array.from({ length: jobs }, () => children(take, tally)));
  clearInterval(timer);
  out(tally.table());
  out(tally.line(performance.now() - began, jobs));
  process.exitCode = tally.isClean && tally.done === count ? 0 : 1;
}

/** One process after the other, until there is nothing left to do. */
async function children(take: () => number[], tally: Tally): Promise<void> {
  while (await child(take, tally));
}

/** Resolves when it has ended: whether another one is to go on. After one that has died none is. */
function child(take: () => number[], tally: Tally): Promise<boolean> {
  const execArgv = [...process.execArgv, ...ROOM];
  const forked: ChildProcess = fork(fileURLToPath(import.meta.url), { execArgv });
  let given = 0;
  let isOver = false;
  forked.on('message', (message: Told | 'more') => {
    if (message !== 'more') return tally.add(message);
    const seeds = given >= SEEDS_PER_PROCESS ? undefined : take();
    isOver = seeds?.length === 0;
    given += seeds?.length ?? 0;
    if (seeds === undefined || isOver) forked.disconnect();
    else forked.send(seeds);
  });
  return new Promise((resolve) => void forked.once('exit', (code) => resolve(!isOver && code === 0)));
}

/** What came of all of them. */
class Tally {
  done = 0;
  isClean = true;
  readonly #verdicts = new Map<string, number>();
  readonly #befell = new Map<string, number>();
  #events = 0;
  #virtualMs = 0;

  add({ seed, verdict, isExplained, details, events, virtualMs, befell }: Told): void {
    this.done++;
    this.#events += events;
    this.#virtualMs += virtualMs;
    this.#verdicts.set(verdict, (this.#verdicts.get(verdict) ?? 0) + 1);
    for (const [name, times] of befell) this.#befell.set(name, (this.#befell.get(name) ?? 0) + times);
    if (isExplained) return;
    this.isClean = false;
    out(`${verdict}: replay it with make sim SEED=${seed} COUNT=1\n  ${details.join('\n  ').slice(0, 2000)}`);
  }

  table(): string {
    const rows = (counts: ReadonlyMap<string, number>): string[] =>
      [...counts].sort(([, a], [, b]) => b - a).map(([name, times]) => `${String(times).padStart(9)}  ${name}`);
    return ['How they ended:', ...rows(this.#verdicts), 'What befell them:', ...rows(this.#befell)].join('\n');
  }

  line(ms: number, jobs: number): string {
    const perMinute = Math.round((this.done / ms) * 60_000);
    const [events, seconds] = [this.#events, this.#virtualMs / 1000].map((sum) => Math.round(sum / this.done));
    return `${this.done} migrations, ${perMinute} a minute over ${jobs} processes; ${events} events and ${seconds} virtual seconds each`;
  }
}

if (process.send !== undefined) beChild();
else if (count === 1) await one();
else await many(Number(JOBS ?? cpus().length));
