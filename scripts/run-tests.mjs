// Runs the compiled tests, each file in a process of its own, and ends with "N passed, N failed, N skipped".
//
//   node scripts/run-tests.mjs [--unit | --long] [--jobs N] [part of a path …]
//
// Without --long, files named *.long.test.js are left out; with it, only they run. --unit: only build/test/unit, which
// needs no servers. A file that crashes, hangs or reports no test counts as one failure.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = 'build/test';
const SECONDS = { unit: 60, sim: 420, clients: 420, mongo: 420, long: 7200 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' }, long: { type: 'boolean' }, jobs: { type: 'string', default: '4' } },
});

/** A file whose source is gone is a leftover of an earlier build. */
function findTests() {
  if (!existsSync(ROOT)) return [];
  return readdirSync(ROOT, { recursive: true })
    .map((name) => join(ROOT, name))
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => existsSync(relative('build', file).replace(/\.js$/, '.ts')))
    .filter((file) => file.includes('.long.test.') === (values.long === true))
    .filter((file) => values.unit !== true || file.startsWith(join(ROOT, 'unit')))
    .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
    .sort((a, b) => needsServers(b) - needsServers(a) || a.localeCompare(b));
}

function needsServers(file) {
  return Number(file.includes('.mongo.test.'));
}

/** The clients' tests install their ecosystems' tools at the first run, the package's build it from nothing. */
function kindOf(file) {
  if (file.includes('.long.test.')) return 'long';
  if (needsServers(file) === 1) return 'mongo';
  if (file.includes('/sim/')) return 'sim';
  return file.includes('/clients/') || file.includes('/package/') ? 'clients' : 'unit';
}

function limitSeconds(file) {
  const kind = kindOf(file);
  return Number(process.env.MONGOFERRY_TEST_SECONDS ?? SECONDS[kind]);
}

/** The process groups of the files that run now; servers they started end with them, by the tests' own watchdogs. */
const running = new Set();

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

function runFile(file) {
  const started = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
  });
  running.add(child.pid);
  const output = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, limitSeconds(file) * 1000);
  return new Promise((resolve) => {
    let ended = {};
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      ended = { code, signal };
      // Children that outlive their test would hold its pipes open for ever.
      killGroup(child.pid);
      running.delete(child.pid);
      setTimeout(() => child.stdout.destroy() && child.stderr.destroy(), 2000).unref();
    });
    child.on('close', () => {
      const seconds = (performance.now() - started) / 1000;
      resolve({ file, seconds, ...judge(Buffer.concat(output).toString(), { ...ended, timedOut }) });
    });
  });
}

/** Counts from uvu's summary, and what is wrong besides failed tests. */
function judge(text, { code, signal, timedOut }) {
  const number = (label) =>
    Number([...text.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'gm'))].at(-1)?.[1] ?? Number.NaN);
  const total = number('Total');
  const counts = { passed: number('Passed') || 0, skipped: number('Skipped') || 0 };
  const failed = Number.isNaN(total) ? 0 : total - counts.passed;
  let problem;
  if (timedOut) problem = 'did not end in time';
  else if (Number.isNaN(total)) problem = `crashed before its summary (${signal ?? `exit code ${code}`})`;
  else if (total + counts.skipped === 0) problem = 'reports no test';
  else if (failed === 0 && code !== 0) problem = `passed, but then ended with ${signal ?? `exit code ${code}`}`;
  return { ...counts, failed: failed + (problem === undefined ? 0 : 1), problem, text };
}

function lineOf({ file, seconds, passed, failed, skipped, problem }) {
  const verdict = failed > 0 ? 'FAIL' : 'ok  ';
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ''}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  const name = relative(ROOT, file).replace(/\.js$/, '');
  return `${verdict} ${seconds.toFixed(1).padStart(6)} s  ${name}: ${counts}${problem === undefined ? '' : ` (${problem})`}`;
}

for (const name of ['SIGINT', 'SIGTERM']) {
  process.once(name, () => {
    for (const pid of running) killGroup(pid);
    process.kill(process.pid, name);
  });
}

const queue = findTests();
const results = [];
async function worker() {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const result = await runFile(file);
    results.push(result);
    console.log(lineOf(result));
  }
}
await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, worker));

for (const { file, text } of results.filter(({ failed }) => failed > 0)) {
  console.log(`\n---- ${relative(ROOT, file)}\n${text.trimEnd()}`);
}
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exitCode = results.length === 0 || sum('failed') > 0 ? 1 : 0;
