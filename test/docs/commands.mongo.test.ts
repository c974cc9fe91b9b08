import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readableLine } from '../../src/lib/readable-line.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess, ferryExecutable } from '../support/ferry-process.js';
import { startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';

/**
 * The pages' commands marked with `<!-- run -->` are run. With MONGOFERRY_TEST_WRITE_DOCS set (`make docs`), what they
 * print takes the place of what the pages show for them.
 */

/** A block of shell commands, and the JSON answers that the page shows for it. */
interface Block {
  readonly script: string;
  readonly answers: readonly unknown[];
}

const PAGES = ['README.md', 'docs/quick-start.md'];
const PAGE_MS = 90_000;
const BLOCK_MS = 30_000;

function blocksOf(page: string): Block[] {
  const [, ...parts] = readFileSync(page, 'utf8').split('<!-- run -->\n```sh\n');
  return parts.map((part) => {
    const [script = '', ...rest] = part.split('\n```');
    // What the page shows belongs to the commands above it, up to the next ones.
    const shown = rest.join('\n```').split('\n```sh\n')[0] ?? '';
    const answers = [...shown.matchAll(/^```json\n([^`]*)\n```/gm)].map(([, json = '']) => JSON.parse(json) as unknown);
    return { script, answers };
  });
}

/** What the server says at its start, on a terminal. */
const LOG = /<!-- log -->\n```text\n[^`]*\n```/;
const isWriting = (process.env['MONGOFERRY_TEST_WRITE_DOCS'] ?? '') !== '';

/** A page's text with what each of its blocks has printed, in order. */
function withOutputs(page: string, outputs: readonly string[]): string {
  const [head = '', ...parts] = readFileSync(page, 'utf8').split('<!-- run -->\n```sh\n');
  const filled = parts.map((part, index) => withOutput(part, outputs[index] ?? ''));
  return [head, ...filled].join('<!-- run -->\n```sh\n');
}

/** What a block shows is between its own end and the next commands: a text, and a JSON answer for each line that is one. */
function withOutput(part: string, output: string): string {
  const end = part.indexOf('\n```sh\n');
  const [own, next] = end < 0 ? [part, ''] : [part.slice(0, end), part.slice(end)];
  const lines = output.trimEnd().split('\n');
  const answers = lines.filter((line) => line.startsWith('{'));
  const text = lines.filter((line) => !line.startsWith('{')).join('\n');
  const filled = own
    .replace(/^```text\n[^`]*\n```$/m, () => `\`\`\`text\n${text}\n\`\`\``)
    .replace(/^```json\n[^`]*\n```$/gm, () => {
      const answer: unknown = JSON.parse(answers.shift() ?? '{}');
      const pretty = JSON.stringify(answer, null, 2);
      return `\`\`\`json\n${pretty.length < 60 ? JSON.stringify(answer) : pretty}\n\`\`\``;
    });
  return filled + next;
}

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a page's commands as a reader would, against this server instead of the one on the usual ports. */
async function run(script: string, ferry: FerryProcess, signal: AbortSignal): Promise<Outcome> {
  const here = script.replaceAll('localhost:27182', ferry.httpUrl.replace('http://', ''));
  const child = spawn('sh', ['-euc', here], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      MONGOFERRY_TARGET: ferry.grpcTarget,
      PATH: `${path.dirname(ferryExecutable())}:${process.env['PATH']}`,
    },
    signal,
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}

/** The names of an answer's fields, two levels deep: what a script of a reader's would depend on. */
function shapeOf(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return typeof answer;
  const { progress, ...rest } = answer as Record<string, unknown>;
  const names = Object.keys(rest).sort();
  return progress === undefined ? names : [...names, Object.keys(progress as object).sort()];
}

/** The quick start's own data. */
async function loadShop(client: MongoClient): Promise<void> {
  const shop = client.db('shop');
  const orders = Array.from({ length: 10_000 }, (_, n) => ({ _id: n, customer: n % 100, total: n * 1.5 }));
  await shop.collection<{ _id: number }>('orders').insertMany(orders);
  await shop.collection('orders').createIndex({ customer: 1 });
  const customers = Array.from({ length: 100 }, (_, n) => ({ _id: n, email: `c${n}@example.com` }));
  await shop.collection<{ _id: number }>('customers').insertMany(customers);
  await shop.collection('customers').createIndex({ email: 1 }, { unique: true });
}

/** What the quick start writes while the migration runs: an insert, a hundred updates, a collection with an index. */
async function writeMeanwhile(client: MongoClient): Promise<void> {
  const shop = client.db('shop');
  await shop.collection<{ _id: string }>('orders').insertOne({ _id: 'late', total: 1 } as { _id: string });
  await shop.collection('orders').updateMany({ customer: 7 }, { $inc: { total: 1 } });
  await shop.collection('invoices').createIndex({ due: 1 }, { expireAfterSeconds: 86_400 });
}
const WRITES = 102;

async function runPage(page: string, signal: AbortSignal): Promise<void> {
  const blocks = blocksOf(page);
  assert.ok(blocks.length >= 3, `${page} has commands to run`);
  await using pair = await startPair({ signal });
  const source = await pair.source.connect();
  await loadShop(source);
  await using ferry = await FerryProcess.between(pair, { signal });
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitUntilInitialized();
  const outputs: string[] = [];
  /** With the names and ports that the page has. */
  const usual = (output: string, { grpcTarget, httpUrl }: FerryProcess): string =>
    output
      .replaceAll(pair.source.hosts[0] ?? '', 'localhost:27017')
      .replaceAll(pair.destination.hosts[0] ?? '', 'localhost:27018')
      .replaceAll('replicaSet=source', 'replicaSet=old')
      .replaceAll('replicaSet=destination', 'replicaSet=new')
      .replaceAll(new RegExp(`\\b${grpcTarget.split(':').at(-1)}\\b`, 'g'), '27183')
      .replaceAll(new RegExp(`\\b${httpUrl.split(':').at(-1)}\\b`, 'g'), '27182')
      .replaceAll(
        /(\b(?:port|grpcPort)=)0\b/g,
        (_, name: string) => `${name}${name.startsWith('grpc') ? 27183 : 27182}`,
      );
  for (const { script, answers } of blocks) {
    const { code, stdout, stderr } = await within(BLOCK_MS, (inner) => run(script, ferry, inner), script);
    assert.is(code, 0, `${script}\n${stdout}${stderr}`);
    outputs.push(usual(stdout, ferry));
    const given = stdout.split('\n').filter((line) => line.startsWith('{'));
    for (const line of given) assert.match(line, /^\{"success":true\b/);
    assert.equal(
      given.map((line) => shapeOf(JSON.parse(line))),
      answers.map(shapeOf),
      script,
    );
    if (script.startsWith('curl -sS localhost:27182/api/v1/start')) {
      await writeMeanwhile(source);
      // Before the copy they are part of it.
      const isCopied = script.includes('canCommit');
      if (isCopied)
        await client.waitFor('the writes applied', ({ totalEventsApplied = 0 }) => totalEventsApplied >= WRITES);
    }
  }
  const { state } = await client.progress();
  assert.is(state, 'COMMITTED', `${page} ends with a committed migration`);
  if (!isWriting) return;
  const log = ferry.log.map(({ fields }) => usual(readableLine(`${JSON.stringify(fields)}\n`), ferry)).join('');
  const started = log.slice(0, log.indexOf('\n', log.indexOf('waiting for start')));
  const filled = withOutputs(page, outputs).replace(LOG, () => `<!-- log -->\n\`\`\`text\n${started}\n\`\`\``);
  writeFileSync(page, filled);
}

for (const page of PAGES) {
  test(`the commands of ${page} do what it shows`, async () => {
    await within(PAGE_MS, (signal) => runPage(page, signal), page);
  });
}

test.run();
