/** Holds the simulated server against a real one: the same random operations on both, compared in all that they show. */
import { MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { canonicalText, decodeOrdered, type OrderedDoc } from '../../src/bson/bson.js';
import { type DriverClient, mongoDriverClient } from '../../src/cluster/driver.js';
import { sharedSet } from '../support/shared-servers.js';
import { within } from '../support/within.js';
import { Random } from '../support/workload-random.js';
import { CALM } from './chaos.js';
import { FakeClients } from './client.js';
import { FakeDeployment } from './deployment.js';
import { type Picture, pictureOf, seenEvents } from './observed.js';
import type { Doc } from './request.js';
import { enter, leave } from './virtual-globals.js';
import { nextStep, runStep, type StepCodes, type WorkloadStep } from './workload.js';
import { Owner, World } from './world.js';

const SEEDS = 12;
const STEPS = 120;
const TEST_MS = 120_000;

const set = await sharedSet(test);
const real = await set.connect();

interface Observed {
  readonly codes: readonly StepCodes[];
  readonly events: readonly string[];
  readonly picture: Picture;
}

/** Steps are drawn by what the simulated server holds, so it goes first. */
async function onFake(seed: number): Promise<Observed & { readonly steps: readonly WorkloadStep[] }> {
  const world = new World();
  const random = new Random(seed);
  enter(world, new Random(seed + 1));
  try {
    const fake = new FakeDeployment({
      name: 'fake',
      world,
      random,
      levels: CALM,
      tell: () => undefined,
      tellsCommands: false,
    });
    const client = new FakeClients(new Owner('test'), new Map([['fake', fake]])).make('fake', {
      maxPoolSize: 1,
      tag: 'test',
      tellsSent: false,
      settings: {},
    });
    const drawn = Array.from({ length: STEPS }, () => {
      const step = nextStep(fake.server, random);
      return step === undefined ? [] : [{ step, codes: runStep(fake.server, step) }];
    }).flat();
    const observing = observe(client);
    observing.then(
      () => world.finish(),
      (error: unknown) => world.fail(error),
    );
    await world.run({ untilMs: 60_000, events: 100_000 });
    const steps = drawn.map(({ step }) => step);
    return { ...(await observing), steps, codes: drawn.map(({ codes }) => codes) };
  } finally {
    leave();
  }
}

async function observe(client: DriverClient): Promise<Omit<Observed, 'codes'>> {
  await client.connect();
  return { picture: await pictureOf(client), events: await seenEvents(client, undefined) };
}

async function onReal(steps: readonly WorkloadStep[]): Promise<Observed> {
  const client = mongoDriverClient(set.uri, { maxPoolSize: 4, tag: 'test', tellsSent: false, settings: {} });
  await client.connect();
  try {
    for (const db of ['shop', 'depot']) await client.command(db, { dropDatabase: 1 });
    const { operationTime } = await client.command('admin', { appendOplogNote: 1, data: { a: 1 } });
    const codes: StepCodes[] = [];
    for (const step of steps) codes.push(await runReal(client, step));
    return { codes, picture: await pictureOf(client), events: await seenEvents(client, operationTime) };
  } finally {
    await client.close();
  }
}

async function runReal(client: DriverClient, { db, commands }: WorkloadStep): Promise<StepCodes> {
  const send = (command: Doc): Promise<Doc> => client.command(commandDb(db, command), decoded(command));
  if (commands.length === 1) return [await codeOf(send(commands[0] as Doc))];
  const session = real.startSession();
  session.startTransaction();
  const codes: number[] = [];
  for (const command of commands) {
    codes.push(await codeOf(real.db(db).command(decoded(command), { session })));
    if (codes.at(-1) !== 0) break;
  }
  await (codes.every((code) => code === 0) ? session.commitTransaction() : session.abortTransaction());
  await session.endSession();
  return codes;
}

function commandDb(db: string, command: Doc): string {
  return 'renameCollection' in command ? 'admin' : db;
}

async function codeOf(answering: Promise<Doc>): Promise<number> {
  try {
    const [error] = ((await answering)['writeErrors'] ?? []) as { readonly code: number }[];
    return error?.code ?? 0;
  } catch (error) {
    if (error instanceof MongoServerError && typeof error.code === 'number') return error.code;
    throw error;
  }
}

/** Statements are raw in a workload. */
function decoded(command: Doc): Doc {
  const isRaw = (value: unknown): value is Buffer[] => Array.isArray(value) && value.some(Buffer.isBuffer);
  return Object.fromEntries(
    Object.entries(command).map(([name, value]) => [name, isRaw(value) ? value.map(decodeOrdered) : value]),
  );
}

function textOf({ db, commands }: WorkloadStep, codes: readonly unknown[]): string {
  const text = commands.map((command) => canonicalText(new Map(Object.entries(decoded(command))) as OrderedDoc));
  return `${db}: ${text.join(' + ')} → ${codes.join()}`;
}

/** The first lines that differ. */
function apart(fake: readonly string[], seen: readonly string[]): string[] {
  const at = Array.from({ length: Math.max(fake.length, seen.length) }).findIndex((_, n) => fake[n] !== seen[n]);
  return at < 0 ? [] : [`fake: ${fake[at]}`, `real: ${seen[at]}`];
}

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`a simulated server does as a real one does, seed ${seed}`, async () => {
    const fake = await onFake(seed);
    const seen = await within(TEST_MS, onReal(fake.steps), 'the real server');
    const tell = (codes: readonly StepCodes[]): string[] => fake.steps.map((step, n) => textOf(step, codes[n] ?? []));
    assert.equal(apart(tell(fake.codes), tell(seen.codes)), [], 'what was refused');
    assert.equal(apart(fake.picture, seen.picture), [], 'what is there');
    assert.equal(apart(fake.events, seen.events), [], 'what the change stream told');
  });
}

test.run();
