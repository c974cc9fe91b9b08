/** Runs several instances of one migration, as processes of their own. */
import type { MongoClient } from 'mongodb';
import type { InstanceProgress, ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import type { CommitPoint } from './commit-points.js';
import { assertEqualClusters } from './compare-clusters.js';
import { holdCommands, releaseCommands } from './fail-points.js';
import { FerryClient, type StartOptions } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { seedBulk } from './seed-data-bulk.js';
import { seedRestorable } from './seed-shop.js';
import type { SharedPair } from './shared-servers.js';
import { storedWhen } from './stored-migration.js';
import { eventually } from './within.js';

const HOLD_MS = 2500;
const COLLECTIONS = 24;
/** Documents of `seedSlowCopy`. */
export const SEEDED = 4800;

/** One instance, with a client of it. */
export class Instance implements AsyncDisposable {
  readonly id: string;
  readonly ferry: FerryProcess;
  client: FerryClient;

  constructor(id: string, ferry: FerryProcess) {
    this.id = id;
    this.ferry = ferry;
    this.client = new FerryClient(ferry.grpcTarget);
  }

  /** Kills the process, and starts it again with the same flags. */
  async restart(): Promise<void> {
    await this.ferry.restart();
    this.client.close();
    this.client = new FerryClient(this.ferry.grpcTarget);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.ferry[Symbol.asyncDispose]();
  }
}

/** Several of them, which end together. */
export class Instances implements AsyncDisposable {
  readonly all: Instance[] = [];
  readonly #pair: Parameters<typeof FerryProcess.between>[0];

  constructor(pair: Parameters<typeof FerryProcess.between>[0]) {
    this.#pair = pair;
  }

  /** Starts one more, and resolves once it knows its state. */
  async add(id: string, flags: readonly string[] = []): Promise<Instance> {
    const instance = new Instance(id, await FerryProcess.between(this.#pair, { flags: ['--id', id, ...flags] }));
    this.all.push(instance);
    await instance.client.waitUntilInitialized();
    return instance;
  }

  /** Gives the same start to all, one after the other. */
  async start(options?: StartOptions): Promise<void> {
    for (const { client } of this.all) await client.start(options);
  }

  /** Commits on all, once each permits it, and waits until each shows COMMITTED. */
  async commit(ms = 60_000): Promise<void> {
    await Promise.all(this.all.map(({ client }) => client.waitForCanCommit(ms)));
    for (const { client } of this.all) await client.commit();
    await Promise.all(this.all.map(({ client }) => client.waitForState('COMMITTED', ms)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((each) => each[Symbol.asyncDispose]()));
  }
}

/** Of an instance, as a snapshot shows it. */
export function shownIn({ details }: ProgressSnapshot, id: string): InstanceProgress | undefined {
  return details?.instances.find((each) => each.id === id);
}

/** Makes many small collections, and each insert of their copy slow: the copy takes until they are let go. */
export async function seedSlowCopy(source: MongoClient, destination: MongoClient, holdMs = 700): Promise<void> {
  await seedBulk(source, { collections: COLLECTIONS, documents: SEEDED, documentBytes: 300, indexes: 1 });
  await holdCommands(destination, { commands: ['insert'] }, holdMs);
}

/** Waits until each of these has copied something, or is copying. */
export async function allCopy(client: FerryClient, ids: readonly string[]): Promise<void> {
  const look = async (): Promise<boolean> => {
    const snapshot = await client.progress();
    return ids.every((id) => Number(shownIn(snapshot, id)?.rangesInWork ?? 0) > 0);
  };
  await eventually(20_000, look, `${ids.join(' and ')} copying`);
}

/** 5 s are promised; the machine of the tests may be busy. */
export const TAKEOVER_MS = 10_000;

/** Kills one and resolves once the other one coordinates. */
export async function killFor(killed: Instance, next: Instance): Promise<void> {
  await killed.ferry.kill();
  await next.client.waitFor(
    `${next.id} coordinating`,
    ({ coordinatorId, state }) => coordinatorId === next.id && state !== 'INITIALIZING',
    TAKEOVER_MS,
  );
}

/** Kills the coordinator of two at a point of its commit, and sees the other one complete it. */
export async function killCommitting({ pair, ...ends }: SharedPair, point: CommitPoint): Promise<void> {
  const { source, destination } = ends;
  await seedRestorable(source, 500);
  await using instances = new Instances(pair);
  const [a, b] = [await instances.add('a'), await instances.add('b')];
  await instances.start();
  await a.client.waitForCanCommit();
  await b.client.waitForCanCommit();
  await holdCommands(ends[point.at], { commands: [point.command] }, HOLD_MS);
  await b.client.commit();
  await a.client.commit();
  await storedWhen(destination, point.name, point.isReached);
  const following = killFor(a, b);
  await releaseCommands(ends[point.at]);
  await following;
  await b.client.waitForState('COMMITTED');
  await assertEqualClusters(source, destination);
}
