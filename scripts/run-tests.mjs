/**
 * Runs the compiled tests, each file in a process of its own, and ends with "N passed, N failed, N skipped".
 *
 *   node scripts/run-tests.mjs [--unit | --long] [--jobs N] [--record] [--cpu] [part of a path …]
 *
 * Without --long, files named *.long.test.js are left out; with it, only they run. --unit: only build/test/unit, which
 * needs no servers. A file that crashes, hangs or reports no test counts as one failure. Replica sets of the plain kinds
 * are kept here and lent to one file after the other; MONGOFERRY_TEST_OWN_SERVERS=1 has each file start its own.
 *
 * The longest files go first, so that no job is left alone with one at the end: scripts/test-seconds.json says how long
 * they take. --record writes into it what this run took. --cpu tells the processor time of each file, with that of its
 * servers and processes, and of the run: unlike the time of the clock, it is the same on a busy machine.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { availableParallelism } from 'node:os';
import { join, relative, resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = 'build/test';
const SECONDS = { unit: 60, compat: 240, sim: 420, clients: 420, mongo: 420, long: 7200 };

/** Most of a test's time goes by in waits: a core takes more than three files at once. */
function defaultJobs() {
  return Math.min(12, 3 * availableParallelism() + 1);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    unit: { type: 'boolean' },
    long: { type: 'boolean' },
    jobs: { type: 'string', default: String(defaultJobs()) },
    record: { type: 'boolean' },
    cpu: { type: 'boolean' },
  },
});

const RECORD = 'scripts/test-seconds.json';
/** Shorter ones need no record. */
const RECORDED_SECONDS = 10;
/** Of a file by name, as of the last recorded run. */
const seconds = existsSync(RECORD) ? JSON.parse(readFileSync(RECORD, 'utf8')) : {};

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
    .sort((a, b) => expectedSeconds(b) - expectedSeconds(a) || a.localeCompare(b));
}

/** Without a record: the other kinds before those on servers, and the quick ones last; by the size within each. */
function expectedSeconds(file) {
  const bySize = Math.min(RECORDED_SECONDS, statSync(file).size / 2000);
  const kind = kindOf(file);
  return seconds[nameOf(file)] ?? { mongo: bySize, unit: bySize / 10 }[kind] ?? RECORDED_SECONDS;
}

function nameOf(file) {
  return relative(ROOT, file).replace(/\.test\.js$/, '');
}

/** Keeps what is recorded of files that did not run, and leaves out what is gone. */
function record() {
  for (const { file, seconds: taken } of results) seconds[nameOf(file)] = Math.round(taken);
  const isKept = ([name, taken]) => taken >= RECORDED_SECONDS && existsSync(`test/${name}.test.ts`);
  const sorted = Object.entries(seconds)
    .filter(isKept)
    .sort(([, a], [, b]) => b - a);
  writeFileSync(RECORD, `${JSON.stringify(Object.fromEntries(sorted), undefined, 2)}\n`);
}

function needsServers(file) {
  return Number(file.includes('.mongo.test.'));
}

/**
 * The clients' tests install their ecosystems' tools at the first run, the package's build it from nothing; those of the
 * doors measure what costly requests cost.
 */
function kindOf(file) {
  if (file.includes('.long.test.')) return 'long';
  if (needsServers(file) === 1) return 'mongo';
  if (file.includes('/sim/')) return 'sim';
  if (file.includes('/compat/')) return 'compat';
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

/** A shell that has waited for its child knows what that used, its children with it. */
const SHELL_THAT_TELLS = '"$@"; code=$?; cat /proc/$$/stat >&2; exit $code';

function commandOf(file) {
  const command = [process.execPath, file];
  return values.cpu === true ? ['/bin/sh', '-c', SHELL_THAT_TELLS, 'sh', ...command] : command;
}

/** In seconds. The line of /proc that the shell wrote: fields 16 and 17 are its children's, in hundredths. */
function cpuSeconds(text, child) {
  const times = text.match(/^\d+ \(sh\) \S(?: -?\d+){12} (\d+) (\d+)/m) ?? [];
  return (Number(times[1]) + Number(times[2])) / 100 + (keeper?.cpuUsed(child) ?? 0);
}

function runFile(file) {
  const started = performance.now();
  const [command, ...args] = commandOf(file);
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', ...(keeper === undefined ? [] : ['ipc'])],
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', ...(keeper && { MONGOFERRY_TEST_LENDER: '1' }) },
  });
  keeper?.serve(child);
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
      const text = Buffer.concat(output).toString();
      resolve({ file, seconds, cpu: cpuSeconds(text, child), ...judge(text, { ...ended, timedOut }) });
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

const POSITION = /(?:file:\/\/)?([^\s()]*?\bbuild\/(\S+?)\.js):(\d+):(\d+)/g;

/** Where it is in the sources. Node could do so itself, but would read the maps of all modules of every file first. */
function withSources(text) {
  return text.replace(POSITION, (written, file, name, line, column) => {
    if (!existsSync(`${file}.map`)) return written;
    const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    const { originalLine, originalColumn } = map.findEntry(Number(line) - 1, Number(column) - 1);
    return originalLine === undefined ? written : `${name}.ts:${originalLine + 1}:${originalColumn + 1}`;
  });
}

function lineOf({ file, seconds, cpu, passed, failed, skipped, problem }) {
  const verdict = failed > 0 ? 'FAIL' : 'ok  ';
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ''}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  const name = relative(ROOT, file).replace(/\.js$/, '');
  const used = values.cpu === true ? `${cpu.toFixed(1).padStart(6)} CPU s` : '';
  return `${verdict} ${seconds.toFixed(1).padStart(6)} s  ${used}  ${name}: ${counts}${problem === undefined ? '' : ` (${problem})`}`;
}

for (const name of ['SIGINT', 'SIGTERM']) {
  process.once(name, () => {
    for (const pid of running) killGroup(pid);
    process.kill(process.pid, name);
  });
}

/** Keeps the sets that files borrow; undefined where nothing is to be lent. */
async function openKeeper(limit) {
  const module = join(ROOT, 'support/set-keeper.js');
  if (process.env.MONGOFERRY_TEST_OWN_SERVERS || !queue.some(needsServers) || !existsSync(module)) return undefined;
  const { SetKeeper } = await import(pathToFileURL(resolvePath(module)).href);
  return new SetKeeper({ limit, tell: (text) => console.log(`     ${text}`) });
}

const queue = findTests();
const jobs = Math.max(1, Number(values.jobs));
const keeper = await openKeeper(3 * jobs);
const results = [];
async function worker() {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const result = await runFile(file);
    results.push(result);
    console.log(lineOf(result));
  }
}
await Promise.all(Array.from({ length: jobs }, worker));
await keeper?.[Symbol.asyncDispose]();

for (const { file, text } of results.filter(({ failed }) => failed > 0)) {
  console.log(`\n---- ${relative(ROOT, file)}\n${withSources(text.trimEnd())}`);
}
if (values.record === true) record();
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
if (values.cpu === true) {
  const { cpuSecondsWithChildren } = await import(pathToFileURL(resolvePath(ROOT, 'support/cpu-seconds.js')).href);
  console.log(`\n${cpuSecondsWithChildren(process.pid).toFixed(0)} CPU s, servers and processes included`);
}
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exitCode = results.length === 0 || sum('failed') > 0 ? 1 : 0;
