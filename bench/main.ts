/** Runs the measurements that were asked for, each at two sizes and several times, and prints a report. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { findMongod } from '../test/support/mongod-binary.js';
import { combine, type Figure, progress, type Result } from './figures.js';
import { reportText } from './report.js';
import { type Extent, SCENARIOS, type Scenario } from './scenarios.js';

const NAMES = SCENARIOS.map(({ name }) => name);
const USAGE = `Usage: node build/bench/main.js [--quick | --full] [--repeat N] [row …]
Rows: ${NAMES.join(', ')}. Default: all, each at two sizes and three times.
--quick: a look; --full: the sizes that the bars are meant for. What is measured of some rows alone replaces
these rows in the results.`;

const RESULTS = path.join(import.meta.dirname, '..', 'bench-results.json');

/** What a row's results were measured with. */
interface Circumstances {
  readonly at: string;
  readonly extent: Extent;
  readonly commit: string;
  readonly cores: number;
  readonly model: string;
  readonly memoryGiB: number;
  readonly node: string;
  readonly mongod: string;
  /** Of the machine before the row began: what others had running, in processes. */
  readonly load: number;
}

interface Measured extends Result, Circumstances {
  readonly sizeUnit: string;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      repeat: { type: 'string', default: '3' },
      help: { type: 'boolean', default: false },
    },
  });
  const unknown = positionals.filter((name) => !NAMES.includes(name));
  const repeat = Number(values.repeat);
  if (values.help || unknown.length > 0 || !(repeat >= 1)) {
    console.error(unknown.length > 0 ? `No such row: ${unknown.join(', ')}\n${USAGE}` : USAGE);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const extent: Extent = values.full ? 'full' : values.quick ? 'quick' : 'usual';
  const asked = ({ name, onlyFull }: Scenario) =>
    positionals.length > 0 ? positionals.includes(name) : onlyFull !== true || extent === 'full';
  const results: Measured[] = [];
  for (const scenario of SCENARIOS.filter(asked)) {
    results.push(...(await runScenario(scenario, extent, repeat)));
    keep(results, positionals.length > 0);
  }
  console.log(`\n${reportText(results)}\n\nWritten to ${path.relative(process.cwd(), RESULTS)}`);
}

async function runScenario(scenario: Scenario, extent: Extent, repeat: number): Promise<Measured[]> {
  const { name, sizes, run, once, unit } = scenario;
  const circumstances = await describeMachine(extent);
  const results: Result[] = [];
  for (const size of sizes[extent]) {
    const runs: (readonly Figure[])[] = [];
    for (let count = 0; count < (once === true ? 1 : repeat); count++) {
      progress(`${name}, ${size} ${unit}, ${count + 1} of ${repeat}`);
      runs.push(await run(size, extent));
    }
    results.push(...combine(name, size, runs));
  }
  return results.map((result) => ({ ...result, sizeUnit: unit, ...circumstances }));
}

async function describeMachine(extent: Extent): Promise<Circumstances> {
  const { version } = await findMongod();
  return {
    at: new Date().toISOString(),
    extent,
    commit: commit(),
    cores: os.availableParallelism(),
    model: os.cpus()[0]?.model ?? '',
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    node: process.version,
    mongod: version,
    load: os.loadavg()[0] ?? Number.NaN,
  };
}

/** With `+` where the folder holds something else than the commit. */
function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim();
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') === '' ? '' : '+'}`;
  } catch {
    return 'unknown';
  }
}

/** After every row, so that a run that is ended leaves something. */
function keep(results: readonly Measured[], only: boolean): void {
  const stored = only && existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : '[]';
  const before = (JSON.parse(stored) as Measured[]).filter(({ row }) => !results.some((result) => result.row === row));
  const all = [...before, ...results].sort((a, b) => NAMES.indexOf(a.row) - NAMES.indexOf(b.row));
  writeFileSync(RESULTS, `${JSON.stringify(all, undefined, 2)}\n`);
}

await main();
