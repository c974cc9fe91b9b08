/** Decides when changes are applied in shares by several instances, and puts their shares together. */
import { randomUUID } from 'node:crypto';
import type { Timestamp } from '../bson/bson.js';
import { Position, type ReachedPosition, secondsOf } from '../bson/position.js';
import type { Cluster } from '../cluster/cluster.js';
import type { ChangeBatch } from '../documents/change-source.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { readLater } from '../lib/tasks.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import { plainTime, timeOf } from '../threads/seen-times.js';
import { isUndivided, type ShareEnd, type SharePlace, type ShareTask } from './share.js';

/** The instances that shares can be given to. */
export interface ShareTakers {
  /** The names of those that can take one now. */
  readonly names: () => readonly string[];
  /** This instance itself has applied so many document changes. */
  readonly countOwn: (events: number) => void;
  /**
   * Has one apply a share; `onPlace` is told how far it is. Resolves with what it has done, once it does nothing more;
   * undefined: the share is given back, and nothing that was sent for it can take effect any more.
   */
  readonly apply: (
    name: string,
    task: ShareTask,
    onPlace: (place: SharePlace) => void,
    signal: AbortSignal,
  ) => Promise<ShareEnd | undefined>;
  /** Has all shares given back, whatever stands in their way; those who wait for them learn it. */
  readonly recall: (signal: AbortSignal) => Promise<void>;
}

/** What stretches are made from. */
export interface StretchContext {
  readonly source: Pick<Cluster, 'now'>;
  readonly collections: Pick<CollectionMap, 'version'> & {
    readonly live: () => readonly Pick<MigratedCollection, 'id' | 'capped' | 'collated'>[];
  };
  readonly takers: ShareTakers;
  readonly logger: Logger;
}

/** How far all shares of a stretch are. */
export interface StretchPlace extends ReachedPosition {
  /** Document changes applied. */
  readonly events: number;
}

/** What is applied of a stretch in this process, and whom it tells. */
export interface StretchHandlers {
  /** Applies this instance's share. */
  readonly applyOwn: (task: ShareTask, onPlace: (place: SharePlace) => void) => Promise<ShareEnd>;
  /** Everything up to there is on the destination. */
  readonly onPlace: (place: StretchPlace) => void;
}

/** What a stretch has come to. */
export interface StretchEnd extends StretchPlace {
  /** Whether it ended at its time, and not at a change that one instance has to carry out. */
  readonly isWhole: boolean;
}

/** Cluster time that the application must be behind: what is less, one instance catches up with by itself. */
const BEHIND_SECONDS = 3;
/**
 * A stretch is as long as it takes so many milliseconds to apply: a repair waits for it, and so does an instance that has
 * just come. At its ends nobody does anything for some round trips and waits, a second in all where clusters are far away.
 */
const SHORT_MS = 8000;
const LONG_MS = 24_000;
const FIRST_SECONDS = 10;
const MAX_SECONDS = 3600;
/** How long after this instance the others may take: one may not reach the source, and everybody waits for it. */
const PATIENCE_MS = 30_000;
const PATIENCE_FACTOR = 3;
/** One with fewer events was not worth its while, nor is the next one for some time. */
const WORTHWHILE_EVENTS = 500;
const FIRST_PAUSE_MS = 2000;
const LAST_PAUSE_MS = 60_000;
/** So many times what a stretch has taken for nothing, this instance goes on alone. */
const WASTE_FACTOR = 10;
/** More collections than these are too many to be named in every read. */
const MAX_UNDIVIDED = 1000;

/**
 * Has the changes between two positions applied in shares, while the application is behind and other instances can help.
 * Everything else about the changes stays with one instance: DDL, at which each share ends, what is judged at the commit,
 * and the position that is stored. So a stretch is a barrier at both ends: nothing before it is under way when it begins,
 * and nobody applies anything of it once it is over.
 */
export class Stretches {
  readonly #context: StretchContext;
  readonly #id = randomUUID();
  #seconds = FIRST_SECONDS;
  #pauseMs = FIRST_PAUSE_MS;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #undivided: { readonly version: number; readonly ids: readonly string[] } | undefined;

  constructor(context: StretchContext) {
    this.#context = context;
  }

  /** Whether what comes after this batch is to be applied in shares. */
  isDue({ events, position }: Pick<ChangeBatch, 'events' | 'position'>): boolean {
    return events.length > 0 && this.#isWorthwhile(position);
  }

  /** Whether the next stretch is to begin where this one has ended. */
  isDueAfter({ isWhole, position }: StretchEnd): boolean {
    return isWhole && this.#isWorthwhile(position);
  }

  #isWorthwhile(position: Position): boolean {
    const { source, takers } = this.#context;
    if (performance.now() < this.#notBeforeMs || source.now === undefined) return false;
    if (secondsOf(source.now) - secondsOf(position.time) < BEHIND_SECONDS) return false;
    return takers.names().length > 0 && this.#undividedIds().length <= MAX_UNDIVIDED;
  }

  /**
   * Applies a stretch from `from` on. Undefined: it was not applied as a whole, and what comes after the last place told, or
   * after `from`, is to be applied once more. Precondition: everything before `from` is on the destination.
   */
  async apply(
    from: Position,
    rawDeltas: boolean,
    { applyOwn, onPlace }: StretchHandlers,
    signal: AbortSignal,
  ): Promise<StretchEnd | undefined> {
    const { takers, logger } = this.#context;
    const startedMs = performance.now();
    const names = takers.names();
    const tasks = this.#tasks(from, rawDeltas, names.length + 1);
    const [own, ...others] = tasks;
    if (own === undefined || others.length === 0) return undefined;
    const places = tasks.map((): SharePlace | undefined => undefined);
    let movedMs = startedMs;
    const hear = ({ share }: ShareTask) => {
      return (place: SharePlace): void => {
        places[share] = place;
        const least = together(places);
        if (least === undefined) return;
        movedMs = performance.now();
        onPlace(least);
      };
    };
    const apply = (task: ShareTask, index: number) => takers.apply(names[index] as string, task, hear(task), signal);
    const applied = readLater(Promise.all(others.map(apply)));
    const ownEnd = await applyOwn(own, hear(own));
    const patienceMs = Math.max(PATIENCE_MS, PATIENCE_FACTOR * (performance.now() - startedMs));
    if (!(await settlesWithin(applied, patienceMs))) {
      logger.warn('Other instances do not come to an end with their shares of the changes, so they are taken back');
      await takers.recall(signal);
    }
    const last = together([ownEnd, ...(await applied)]);
    this.#learn(last?.events ?? 0, performance.now() - startedMs, last === undefined ? performance.now() - movedMs : 0);
    return last && { ...last, isWhole: !last.position.time.lessThan(timeOf(own.until)) };
  }

  #tasks(from: Position, rawDeltas: boolean, of: number): ShareTask[] {
    const { collections } = this.#context;
    const until = plainTime(this.#until(from));
    const catalog = `${this.#id} ${collections.version}`;
    const undivided = this.#undividedIds();
    return Array.from({ length: of }, (_, share) => ({
      ...{ from: from.toText(), until, share, of, rawDeltas, catalog },
      undivided: share === 0 ? undivided : [],
    }));
  }

  /** No later than the source's present: behind it nobody would find an end. */
  #until(from: Position): Timestamp {
    const now = this.#context.source.now ?? from.time;
    const last = timeOf([secondsOf(from.time) + this.#seconds, 0]);
    return now.lessThan(last) ? now : last;
  }

  #undividedIds(): readonly string[] {
    const { version } = this.#context.collections;
    if (this.#undivided?.version !== version) {
      const ids = this.#context.collections.live().filter(isUndivided);
      this.#undivided = { version, ids: ids.map(({ id }) => id) };
    }
    return this.#undivided.ids;
  }

  /** `wastedMs`: what was applied in that time is to be applied once more. */
  #learn(events: number, tookMs: number, wastedMs: number): void {
    this.#context.logger.debug(`Applied ${events} changes in shares`, { tookMs: Math.round(tookMs) });
    if (tookMs < SHORT_MS) this.#seconds = Math.min(this.#seconds * 2, MAX_SECONDS);
    else if (tookMs > LONG_MS) this.#seconds = Math.max(1, Math.floor(this.#seconds / 2));
    if (events >= WORTHWHILE_EVENTS) {
      this.#pauseMs = FIRST_PAUSE_MS;
      return;
    }
    // What came to nothing has held everything up: the next one must not do so soon.
    this.#notBeforeMs = performance.now() + Math.max(this.#pauseMs, wastedMs * WASTE_FACTOR);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS);
  }
}

/** Where all of them are: the one that comes first, since each has applied everything of its own share up to there. */
function together(ends: readonly (SharePlace | undefined)[]): StretchPlace | undefined {
  let first: ReachedPosition | undefined;
  let events = 0;
  for (const end of ends) {
    if (end === undefined) return undefined;
    events += end.events;
    const position = Position.fromText(end.position);
    const order = first === undefined ? -1 : position.compare(first.position);
    if (order < 0) first = { position, isBetween: end.isBetween };
    // What one knows to be all of a time, another one may be in the middle of.
    else if (order === 0) first = { position, isBetween: first?.isBetween === true && end.isBetween };
  }
  return first && { ...first, events };
}
