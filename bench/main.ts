/** Runs the measurements that were asked for, each at two sizes, and prints a report. */
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { drainingRows } from './draining.js';
import { initialSyncRows } from './initial-sync.js';
import { instanceRows } from './instances.js';
import { numberRows } from './numbers.js';
import { type Row, reportText } from './report.js';
import { memoryGrowth, verificationRows } from './verification.js';

const USAGE = `Usage: node build/bench/main.js [--quick] [row …]
Rows: initial-sync, memory, restart, draining, numbers, verification, instances. Default: all. --quick: a tenth of the data.`;

/** Sizes are [smaller, larger]: every row runs at both, and the report tells how the cost per document changes. */
const SIZES = {
  full: {
    documents: [250_000, 1_000_000],
    events: [50_000, 200_000],
    written: [30_000, 100_000],
    verified: [1_000_000, 4_000_000],
  },
  quick: {
    documents: [25_000, 100_000],
    events: [5_000, 20_000],
    written: [5_000, 20_000],
    verified: [100_000, 400_000],
  },
} as const;

const RESULTS = path.join(import.meta.dirname, '..', 'bench-results.json');

/** Which rows each scenario gives, and what is concluded once it has run at both sizes. */
const SCENARIOS = [
  { rows: ['initial-sync', 'memory', 'restart'], run: initialSyncRows, unit: 'documents', conclude: () => [] },
  { rows: ['draining', 'memory'], run: drainingRows, unit: 'events', conclude: () => [] },
  { rows: ['numbers'], run: numberRows, unit: 'written', conclude: () => [] },
  { rows: ['verification'], run: verificationRows, unit: 'verified', conclude: memoryGrowth },
  { rows: ['instances'], run: instanceRows, unit: 'documents', conclude: () => [] },
] as const;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  });
  const known = new Set<string>(SCENARIOS.flatMap(({ rows }) => rows));
  const unknown = positionals.filter((name) => !known.has(name));
  if (values.help || unknown.length > 0) {
    console.error(unknown.length > 0 ? `No such row: ${unknown.join(', ')}\n${USAGE}` : USAGE);
    process.exitCode = unknown.length > 0 ? 2 : 0;
    return;
  }
  const wanted = new Set<string>(positionals.length > 0 ? positionals : known);
  const sizes = values.quick ? SIZES.quick : SIZES.full;
  const rows: Row[] = [];
  for (const { rows: names, run, unit, conclude } of SCENARIOS) {
    if (!names.some((name) => wanted.has(name))) continue;
    for (const size of sizes[unit]) rows.push(...(await run(size)));
    rows.push(...conclude(rows));
  }
  const kept = rows.filter(({ name }) => wanted.has(name));
  console.log(`\n${reportText(kept)}`);
  const machine = {
    cpus: os.cpus().length,
    model: os.cpus()[0]?.model,
    memoryBytes: os.totalmem(),
    node: process.version,
  };
  await writeFile(
    RESULTS,
    `${JSON.stringify({ at: new Date(), quick: values.quick, machine, rows: kept }, null, 2)}\n`,
  );
  console.log(`\nWritten to ${path.relative(process.cwd(), RESULTS)}`);
}

await main();
