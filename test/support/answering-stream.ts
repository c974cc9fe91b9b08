/** Makes a cluster whose change stream gives prepared answers. */
import { Long, Timestamp } from 'mongodb';
import type { Doc } from '../../src/bson/bson.js';
import type { Cluster } from '../../src/cluster/cluster.js';
import { answeringCluster } from './answering-cluster.js';
import { type RawCursor, rawCursor } from './raw-replies.js';

/** The cluster time of every answer of {@link answeringStream}. */
export const STREAM_TIME = new Timestamp({ t: 16, i: 1 });

const TOKEN = { _data: '820000001000000001AA' };

/** An answer of a change stream whose position is at {@link STREAM_TIME}. */
export function streamReply(batch: Pick<RawCursor, 'batch' | 'isNext'>): { cursor: Buffer } {
  const stream = { id: Long.fromNumber(1), ns: 'admin.$cmd.aggregate', postBatchResumeToken: TOKEN };
  return { cursor: rawCursor({ ...stream, ...batch }) };
}

/** A cluster that gives these answers to the reader of a change stream, and then none. */
export function answeringStream(replies: Promise<Doc>[]): Promise<Cluster> {
  return answeringCluster((command) =>
    'killCursors' in command ? {} : (replies.shift() ?? new Promise<never>(() => undefined)),
  );
}
