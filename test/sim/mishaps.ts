/** What befalls the machines of a simulated migration, by chance, until it is calm. */
import { CALM } from './chaos.js';
import type { FakeDeployment } from './deployment.js';
import type { SimulatedProcess } from './simulated-process.js';
import { type Stage, TICK_MS } from './stage.js';

const OF_CATALOG = new Set(['listCollections', 'listIndexes', 'create', 'drop', 'renameCollection', 'collMod']);

/** Those of one migration. */
export class Mishaps {
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
    const { clusters, plan } = stage;
    if (plan.failoversAtCatalog === 0) return;
    for (const cluster of clusters)
      cluster.chaos.onCommand = ({ name }) => {
        if (OF_CATALOG.has(name)) this.#atCatalog(cluster);
      };
  }

  /** The next primary comes while the catalog is in use, so that part of it may be read from the old one. */
  #atCatalog(cluster: FakeDeployment): void {
    const { startedMs, isCalm, plan, random } = this.#stage;
    if (startedMs === undefined || isCalm || !random.chance(plan.failoversAtCatalog)) return;
    if (random.chance(0.5)) cluster.stallReplication(random.int(2000));
    const staleMs = random.chance(plan.stale) ? 1 + random.int(4000) : 0;
    this.#stage.later(random.int(20), () => cluster.failOver(1 + random.int(20), staleMs));
  }

  /** Draws what happens before the next look. */
  look(): void {
    const { startedMs, isCalm, world, plan, clusters, running } = this.#stage;
    if (startedMs === undefined || isCalm) return;
    if (world.nowMs > startedMs + plan.calmAfterMs) {
      this.#calm();
      return;
    }
    for (const process of running) this.#soon(this.#ofProcess(process));
    for (const cluster of clusters) if (this.#isNow(plan.failovers)) this.#failOver(cluster);
    if (this.#isNow(plan.transactions)) this.#openTransaction();
  }

  #isNow(perSecond: number): boolean {
    return perSecond > 0 && this.#stage.random.chance(perSecond * (TICK_MS / 1000));
  }

  /** At any moment before the next look. */
  #soon(mishap: (() => void) | undefined): void {
    if (mishap !== undefined) this.#stage.later(this.#stage.random.next() * TICK_MS, mishap);
  }

  #ofProcess(process: SimulatedProcess): (() => void) | undefined {
    const { plan, random, tell } = this.#stage;
    const { name } = process.owner;
    if (this.#isNow(plan.kills))
      return () => {
        tell(`${name} is killed`, 'processes killed');
        process.kill();
      };
    if (this.#isNow(plan.stalls))
      return () => {
        const ms = random.int(random.chance(0.3) ? 90_000 : 5000);
        tell(`${name} stalls for ${ms} ms`, 'processes stalled');
        process.stall(ms);
      };
    if (!this.#isNow(plan.stops)) return undefined;
    return () => {
      tell(`${name} is stopped`, 'processes stopped');
      process.stop();
    };
  }

  #failOver(cluster: FakeDeployment): void {
    const { random, plan } = this.#stage;
    if (random.chance(0.5)) cluster.stallReplication(random.int(4000));
    const ms = random.int(random.chance(0.2) ? 12_000 : 2000);
    const staleMs = random.chance(plan.stale) ? 1 + random.int(3000) : 0;
    this.#stage.later(random.int(3000), () => cluster.failOver(ms, staleMs));
  }

  /** Somebody leaves a transaction open on the source, which holds up a block of its writes. */
  #openTransaction(): void {
    const { random, source, world, tell } = this.#stage;
    const ms = random.int(random.chance(0.3) ? 90_000 : 5000);
    tell(`a transaction is open on ${source.name} for ${ms} ms`, 'open transactions');
    source.server.transactionUntilMs = world.nowMs + ms;
  }

  #calm(): void {
    const { clusters, tell } = this.#stage;
    this.#stage.isCalm = true;
    tell('from now on nothing goes wrong');
    for (const { chaos } of clusters) chaos.levels = { ...CALM, splits: chaos.levels.splits };
  }
}
