/** Lets faults happen by chance, the same ones for a seed. */
import type { FaultProxy } from './fault-proxy.js';
import type { Fault, FaultRule, HeldMessage, MessageMatch } from './fault-rule.js';
import type { Random } from './workload-random.js';

const DOCUMENTS = ['insert', 'update', 'delete'];
const STRUCTURE = ['create', 'drop', 'collMod', 'createIndexes', 'dropIndexes', 'renameCollection', 'dropDatabase'];
const READS = ['find', 'getMore', 'aggregate', 'appendOplogNote', 'listCollections', 'listIndexes'];
const APP = 'mongoferry';
/** Turns for which a message is kept at most. */
const MAX_TURNS = 8;

/** How often each fault befell a message. */
export type MischiefReport = Readonly<Record<Fault['kind'], number>>;

interface Kept {
  readonly held: HeldMessage;
  turns: number;
}

/**
 * Faults by chance between a migration and its clusters, the same ones for a seed as far as the migration sends the same:
 * answers are lost, requests dropped, kept and delivered late, connections cut. One rule at a time for each proxy.
 */
export class Mischief {
  readonly #random: Random;
  readonly #source: FaultProxy;
  readonly #destination: FaultProxy;
  readonly #kept: Kept[] = [];
  readonly #rules: FaultRule[] = [];

  constructor(random: Random, { source, destination }: { source: FaultProxy; destination: FaultProxy }) {
    this.#random = random;
    this.#source = source;
    this.#destination = destination;
  }

  get report(): MischiefReport {
    const count = (kind: Fault['kind']): number =>
      this.#rules.filter(({ fault }) => fault.kind === kind).reduce((sum, { hits }) => sum + hits.length, 0);
    return {
      drop: count('drop'),
      loseAnswer: count('loseAnswer'),
      hold: count('hold'),
      halfOpen: count('halfOpen'),
      cut: count('cut'),
      delay: count('delay'),
    };
  }

  /** One more fault for each cluster; what was kept for long enough arrives. */
  async turn(): Promise<void> {
    await this.#deliver(({ turns }) => turns <= 0);
    for (const kept of this.#kept) kept.turns--;
    this.#befall(this.#destination, { command: this.#random.pick([DOCUMENTS, DOCUMENTS, STRUCTURE]) });
    this.#befall(this.#source, { command: READS });
  }

  /** No more faults. What changes the catalog arrives now, since the migration waits for it; documents are kept on. */
  async calmDown(): Promise<void> {
    this.#source.clear();
    this.#destination.clear();
    await this.#deliver(({ held }) => STRUCTURE.includes(held.message.command));
  }

  /** Everything that is still kept arrives. */
  async deliverAll(): Promise<void> {
    await this.#deliver(() => true);
  }

  async #deliver(isDue: (kept: Kept) => boolean): Promise<void> {
    const due = this.#kept.filter(isDue);
    for (const kept of due) this.#kept.splice(this.#kept.indexOf(kept), 1);
    await Promise.all(due.map(({ held }) => held.deliver()));
  }

  #befall(proxy: FaultProxy, match: MessageMatch): void {
    proxy.clear();
    const isRead = proxy === this.#source;
    const kinds = ['loseAnswer', 'drop', 'cut', 'delay', ...(isRead ? [] : (['hold', 'hold'] as const))] as const;
    const kind = this.#random.pick(kinds);
    const fault: Fault =
      kind === 'delay' ? { kind, ms: this.#random.int(200) } : kind === 'hold' ? { kind, cutClient: true } : { kind };
    const rule = proxy.rule({ appName: APP, ...match, nth: 1 + this.#random.int(6) }, fault);
    this.#rules.push(rule);
    if (kind !== 'hold') return;
    void rule.held().then((held) => this.#kept.push({ held, turns: 1 + this.#random.int(MAX_TURNS) }));
  }
}
