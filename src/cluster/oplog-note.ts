/** Writes notes to the oplog: their times separate what came before from what comes after. */
import type { Timestamp } from '../bson/bson.js';
import { sleep } from '../lib/signals.js';
import { type Cluster, WRITE_LIMIT_MS } from './cluster.js';
import { safeText } from './errors.js';

/**
 * Writes a no-op to the oplog with majority write concern and returns its cluster time: everything acknowledged before
 * the call is at or before it, and change streams move past it even when nobody writes.
 * `isNoNews`: it is not waited for. Source: MongoDB manual, appendOplogNote; needs the privilege of the same name.
 */
export async function writeOplogNote(
  cluster: Cluster,
  reason: string,
  signal: AbortSignal,
  { isNoNews = false }: { readonly isNoNews?: boolean } = {},
): Promise<Timestamp> {
  const reply = await cluster.attempt('writing a note to the oplog', signal, () =>
    cluster.command(
      'admin',
      { appendOplogNote: 1, data: { mongoferry: reason }, writeConcern: { w: 'majority' } },
      { control: true, limitMs: WRITE_LIMIT_MS, signal, isNoNews },
    ),
  );
  return reply['operationTime'] as Timestamp;
}

const EVERY_MS = 500;
const NOTE_LIMIT_MS = 20_000;

interface RegularNotes {
  readers: number;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/** By cluster: one writer of notes for however many streams are read. */
const regular = new WeakMap<Cluster['core'], RegularNotes>();

/**
 * Writes notes on every shard while `work` goes on. A mongos gives out an event only when every shard's oplog has passed
 * it, and a shard that nobody writes to writes a note of its own every ten seconds only (tried on 6.0.5): so long would an
 * event take. What stands in the way of a note stands in the way of the stream, too, which tells of it.
 */
export async function* withRegularNotes<T>(cluster: Cluster, work: AsyncIterable<T>): AsyncGenerator<T> {
  const { core } = cluster;
  const notes = regular.get(core) ?? begin(cluster);
  regular.set(core, notes);
  notes.readers++;
  try {
    yield* work;
  } finally {
    notes.readers--;
    if (notes.readers === 0) {
      regular.delete(core);
      notes.stop.abort(new Error('no stream is read any more'));
      await notes.ended;
    }
  }
}

function begin(cluster: Cluster): RegularNotes {
  const stop = new AbortController();
  return { readers: 0, stop, ended: writeRegularly(cluster, stop.signal) };
}

/** Never rejects. */
async function writeRegularly(cluster: Cluster, signal: AbortSignal): Promise<void> {
  const note = { appendOplogNote: 1, data: { mongoferry: 'change stream' } };
  while (!signal.aborted) {
    try {
      await cluster.command('admin', note, { control: true, limitMs: NOTE_LIMIT_MS, signal });
    } catch (error) {
      if (!signal.aborted) cluster.core.logger.debug(`A note was not written: ${safeText(error)}`);
    }
    await sleep(EVERY_MS, signal).catch(() => undefined);
  }
}
