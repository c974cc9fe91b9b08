/** Runs several instances of one migration, as processes of their own. */
import type { MongoClient } from 'mongodb';
import type { InstanceProgress, ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { holdCommands } from './fail-points.js';
import { FerryClient, type StartOptions } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { seedBulk } from './seed-data-bulk.js';
import { eventually } from './within.js';

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

/** Makes many small collections, and each insert of their copy slow: the copy takes seconds. */
export async function seedSlowCopy(source: MongoClient, destination: MongoClient, holdMs = 700): Promise<void> {
  await seedBulk(source, { collections: 24, documents: 4800, documentBytes: 300, indexes: 1 });
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
