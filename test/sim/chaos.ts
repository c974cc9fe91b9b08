/** What a simulated server does by chance: how long things take, and what goes wrong how often. */

import { isIgnored } from '../../src/catalog/namespace.js';
import type { Random } from '../support/workload-random.js';
import { serverError } from './errors.js';
import type { Request } from './request.js';
import type { Tell } from './world.js';

/** Probabilities and times. Times are milliseconds; probabilities are of one command. */
export interface ChaosLevels {
  /** Of a reply with fewer documents than asked for. */
  readonly splits: number;
  /** Of an index build that is refused, though nothing is wrong with its documents. */
  readonly refusesBuild: number;
  readonly longestBuildMs: number;
  /** Usual time on the way there, and back. */
  readonly latencyMs: number;
  /** Of a command that takes some hundred times longer. */
  readonly slow: number;
  /** Of a command that is lost on the way there. */
  readonly losesRequest: number;
  /** Of a command whose answer is lost. */
  readonly losesAnswer: number;
  /** Of a command whose connection is cut, and that arrives later. */
  readonly late: number;
  /** The same besides, of one that changes documents which are no metadata, and of one that changes the catalog. */
  readonly lateDocuments: number;
  readonly lateStructural: number;
  /** How late they may come: from and to, one of these. */
  readonly lateMs: readonly (readonly [number, number])[];
  /** Of a write that no majority is said to have confirmed. */
  readonly writeConcern: number;
  /** Of a command that the server interrupts. */
  readonly interrupts: number;
  /** How long a majority takes to follow. */
  readonly replicationMs: number;
}

/** Nothing goes wrong. */
export const CALM: ChaosLevels = {
  splits: 0,
  refusesBuild: 0,
  longestBuildMs: 200,
  latencyMs: 1,
  slow: 0,
  losesRequest: 0,
  losesAnswer: 0,
  late: 0,
  lateDocuments: 0,
  lateStructural: 0,
  lateMs: [
    [0, 200],
    [0, 2000],
    [0, 20_000],
  ],
  writeConcern: 0,
  interrupts: 0,
  replicationMs: 2,
};

/** What becomes of a command. */
export type Fate = 'answered' | 'requestLost' | 'answerLost' | 'late' | 'writeConcern' | 'interrupted';

const DOCUMENT_WRITES = new Set(['insert', 'update', 'delete']);

/** Draws lots for one simulated replica set. */
export class Chaos {
  readonly random: Random;
  levels: ChaosLevels;
  /** What becomes of a command, where it is not left to chance. */
  script: ((request: Request) => Fate | undefined) | undefined;
  /** Told of every command when it leaves. */
  onCommand: (request: Request) => void = () => undefined;
  /** Told of everything that goes wrong. */
  readonly #tell: Tell;

  constructor(random: Random, levels: ChaosLevels, tell: Tell) {
    this.random = random;
    this.levels = levels;
    this.#tell = tell;
  }

  splitsBatch(): boolean {
    return this.random.chance(this.levels.splits);
  }

  /** Milliseconds of an index build. */
  buildMs(): number {
    return this.random.int(this.levels.longestBuildMs + 1);
  }

  /** Why a build is refused, by chance. */
  buildRefusal(): Error | undefined {
    if (!this.random.chance(this.levels.refusesBuild)) return undefined;
    this.#tell('an index build is refused', 'index builds refused');
    return serverError(this.random.pick([276, 11602, 146]), 'the index build was interrupted');
  }

  /** Milliseconds of one way over the network. */
  wayMs(): number {
    const { latencyMs, slow } = this.levels;
    const usual = latencyMs * (0.5 + this.random.next());
    return this.random.chance(slow) ? usual * (20 + this.random.int(2000)) : usual;
  }

  /** Milliseconds until a majority has an entry. */
  replicationMs(): number {
    return this.levels.replicationMs * (0.5 + this.random.next());
  }

  #lateBesides({ name, db, target }: Request): number {
    if (name === 'appendOplogNote') return 0;
    if (!DOCUMENT_WRITES.has(name)) return this.levels.lateStructural;
    return isIgnored({ db, coll: target }) ? 0 : this.levels.lateDocuments;
  }

  fate(request: Request, isWrite: boolean): Fate {
    this.onCommand(request);
    const scripted = this.script?.(request);
    if (scripted !== undefined) {
      this.#tell(`${scripted}, as it is written: ${request.name}`);
      return scripted;
    }
    const { name } = request;
    const { losesRequest, losesAnswer, writeConcern, interrupts } = this.levels;
    const late = this.levels.late + (isWrite ? this.#lateBesides(request) : 0);
    const draw = this.random.next();
    let at = 0;
    if (draw >= losesRequest + losesAnswer + late + interrupts + writeConcern) return 'answered';
    const lots: readonly (readonly [Fate, number])[] = [
      ['requestLost', losesRequest],
      ['answerLost', losesAnswer],
      ['late', late],
      ['interrupted', interrupts],
      ['writeConcern', isWrite ? writeConcern : 0],
    ];
    for (const [fate, probability] of lots) {
      at += probability;
      if (draw >= at) continue;
      this.#tell(`${fate}: ${name}`, `commands: ${fate}`);
      return fate;
    }
    return 'answered';
  }
}
