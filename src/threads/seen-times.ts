/** Shares the newest cluster times between the threads of one process. */
import { Timestamp } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import type { PlainTime, SeenTimes } from './thread-calls.js';

interface Pair {
  readonly source: Pick<Cluster, 'now' | 'saw'>;
  readonly destination: Pick<Cluster, 'now' | 'saw'>;
}

/** A time as plain data. */
export function plainTime(time: Timestamp): PlainTime {
  return [time.getHighBitsUnsigned(), time.getLowBitsUnsigned()];
}

/** A time from plain data. */
export function timeOf([t, i]: PlainTime): Timestamp {
  return new Timestamp({ t, i });
}

/** What these clusters have seen. */
export function seenBy({ source, destination }: Pair): SeenTimes {
  return {
    source: source.now && plainTime(source.now),
    destination: destination.now && plainTime(destination.now),
  };
}

/** From now on these clusters have seen it, too. */
export function see(pair: Pair, { source, destination }: SeenTimes): void {
  if (source !== undefined) pair.source.saw(timeOf(source));
  if (destination !== undefined) pair.destination.saw(timeOf(destination));
}
