/** The times that the members of a cluster tell each other with every message. */
import { type Doc, fieldsOf, itemsOf, type RawValue } from './raw-values.js';
import { compareValues } from './value-order.js';

/** The latest times that were heard of; they only grow. */
export class VectorClock {
  /** `{clusterTime, signature}` */
  #cluster: RawValue | undefined;
  #config: RawValue | undefined;
  #topology: RawValue | undefined;

  /** `$clusterTime` as clients get it; undefined before the first answer. */
  get clusterTime(): RawValue | undefined {
    return this.#cluster;
  }

  /** The time alone, a timestamp. */
  get now(): RawValue | undefined {
    return timeOf(this.#cluster);
  }

  /** Takes the times out of an answer, and with them what only members tell each other. */
  learn(answer: Map<string, RawValue>): void {
    this.hear(answer.get('$clusterTime'));
    this.#config = later(this.#config, answer.get('$configTime'));
    this.#topology = later(this.#topology, answer.get('$topologyTime'));
    for (const name of ['$clusterTime', '$configTime', '$topologyTime', 'lastCommittedOpTime', '$gleStats']) {
      answer.delete(name);
    }
  }

  /** Takes a `$clusterTime` that a server, or a trusted client, sent. */
  hear(clusterTime: RawValue | undefined): void {
    const [mine, theirs] = [timeOf(this.#cluster), timeOf(clusterTime)];
    if (theirs === undefined) return;
    if (mine === undefined || compareValues(theirs, mine) > 0) this.#cluster = clusterTime;
  }

  /** Adds the times to a command for a member. */
  stamp(command: Doc): void {
    if (this.#cluster !== undefined) command.set('$clusterTime', this.#cluster);
    if (this.#config !== undefined) command.set('$configTime', this.#config);
    if (this.#topology !== undefined) command.set('$topologyTime', this.#topology);
  }
}

function timeOf(clusterTime: RawValue | undefined): RawValue | undefined {
  return clusterTime === undefined ? undefined : fieldsOf(clusterTime.bytes).get('clusterTime');
}

function later(a: RawValue | undefined, b: RawValue | undefined): RawValue | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareValues(b, a) > 0 ? b : a;
}

/** The latest of some timestamps. */
export function latest(times: readonly (RawValue | undefined)[]): RawValue | undefined {
  return times.reduce(later, undefined);
}

/** The first of an array's items; for reading `$sortKey`. */
export function firstItem(value: RawValue | undefined): RawValue | undefined {
  return itemsOf(value)[0];
}
