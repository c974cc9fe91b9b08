/** The users of a simulated cluster: they write at random moments, and some who should not. */
import { isIgnored } from '../../src/catalog/namespace.js';
import { toRaw } from './raw.js';
import type { Doc } from './request.js';
import type { Stage } from './stage.js';

import { storedRecord } from './verdict.js';
import { nextStep, runStep, type WorkloadStep } from './workload.js';
import { insertOne } from './write-commands.js';

/** How often they look whether they may write. */
const IDLE_MS = 500;

/** Those of one migration. */
export class Users {
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** What is there before the migration. */
  begin(): void {
    const { plan } = this.#stage;
    for (let count = 0; count < plan.stepsBefore; count++) this.#step();
    this.#stage.later(plan.stepMs, () => this.#keepStepping());
    if (plan.plantsAfterMs !== undefined) this.#stage.later(plan.plantsAfterMs, () => this.#plant());
  }

  #keepStepping(): void {
    const { startedMs, usersStop, source, plan, random } = this.#stage;
    const isIdle = startedMs === undefined || usersStop || this.#stage.stepsLeft === 0;
    if (!isIdle && source.primary !== undefined) {
      this.#stage.stepsLeft--;
      this.#step();
    }
    this.#stage.later(isIdle ? IDLE_MS : plan.stepMs * 2 * random.next(), () => this.#keepStepping());
  }

  #step(): void {
    const { source, random, plan } = this.#stage;
    const step = nextStep(source.server, random, plan.mix);
    if (step === undefined) return;
    const codes = runStep(source.server, step).filter((code) => code !== 0);
    const refused = codes.length === 0 ? '' : ` refused: ${codes.join()}`;
    this.#stage.tell(() => `users of ${source.name}: ${textOf(step)}${refused}`, 'operations of users');
  }

  /** Somebody writes to the destination, which is the migration's alone. */
  #plant(): void {
    const { destination, planted, verdict, plan, random, tell } = this.#stage;
    if (planted !== undefined || verdict !== undefined) return;
    const record = storedRecord(destination);
    const isOurs = record !== undefined && record['canWrite'] !== true && stepOf(record) !== 'handover';
    const { server, state } = destination;
    const collections = server.catalog.collections().filter(({ db, name }) => !isIgnored({ db, coll: name }));
    if (!isOurs || collections.length === 0 || destination.primary === undefined) {
      this.#stage.later(plan.plantsAfterMs ?? 1000, () => this.#plant());
      return;
    }
    const collection = random.pick(collections);
    // An insert of a document without the fields of a unique index could be refused.
    const isFree = ![...collection.indexes.values()].some((index) => index.get('prepareUnique') === true);
    const what = (random.chance(0.5) && collection.size > 0) || !isFree ? 'a delete' : 'an insert';
    if (what === 'a delete' && collection.size === 0) return;
    state.change((tx) => {
      if (what === 'an insert') {
        insertOne(server, collection, toRaw({ _id: 'planted' }), tx, true);
        return;
      }
      const [record, stored] = random.pick(collection.natural);
      const ns = { db: collection.db, coll: collection.name };
      tx.did(collection.put(record, undefined), { operationType: 'delete', ns, uuid: collection.uuid, key: stored.id });
    });
    this.#stage.planted = { what: `${what} in ${collection.db}.${collection.name}`, time: state.oplog.lastTime };
    tell(`somebody plants ${this.#stage.planted.what} on the destination`, 'planted writes');
  }
}

function stepOf(record: Doc): unknown {
  return (record['commit'] as { step?: unknown } | undefined)?.step;
}

function textOf({ db, commands }: WorkloadStep): string {
  return `${db} ${commands.map((command) => JSON.stringify(command, plain)).join(' + ')}`;
}

function plain(_: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}
