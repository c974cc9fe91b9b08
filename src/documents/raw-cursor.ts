/** Reads cursors in batches of raw BSON. */
import { isMainThread } from 'node:worker_threads';
import { MongoError } from 'mongodb';
import { type Doc, decodeReply, type Long } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import { documentOfFields, fieldOf, forEachField } from '../bson/raw-document.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DriverSession } from '../cluster/driver.js';
import { TransientError } from '../cluster/errors.js';
import { LoopTurns } from '../lib/loop-turns.js';
import { linkAbort, orAborted, sleep } from '../lib/signals.js';
import { readLater } from '../lib/tasks.js';
import { RawBatch } from './raw-batch.js';

/** How to read. */
export interface RawCursorOptions {
  readonly db: string;
  /** find or aggregate, with `cursor` or `batchSize` set as wanted. */
  readonly command: Doc;
  /** Documents per getMore; the server's 16 MB bound applies too. */
  readonly batchSize?: number;
  /** Told of every reply: milliseconds it was waited for, and its bytes. */
  readonly onReply?: (ms: number, bytes: number) => void;
  /** Milliseconds that the next tailing getMore waits for data, asked before each; left out for cursors that end. */
  readonly awaitMs?: () => number;
  /** Once it aborts, the iteration ends without waiting for the getMore that is under way. */
  readonly cutShort?: AbortSignal;
  /** Milliseconds to let pass before the next getMore is sent, after a reply of so many documents. Default none. */
  readonly pauseMs?: (documents: number) => number;
}

/**
 * Reads a cursor in raw batches over `db.command`, the one public way that keeps both documents raw and the resume
 * token readable. The next getMore is on its way while a batch is being used: at most two batches are in memory.
 *
 * Errors are the driver's, or the signal's reason, which also ends the reply that is under way. The cursor is killed and
 * its session ended however the iteration ends.
 */
export async function* rawBatches(
  cluster: Cluster,
  options: RawCursorOptions,
  signal: AbortSignal,
): AsyncGenerator<RawBatch> {
  const session = cluster.startSession();
  let ahead: Promise<Doc> | undefined;
  let open: { id: Long; collection: string } | undefined;
  let awaitMs = options.awaitMs === undefined ? undefined : FIRST_AWAIT_MS;
  let isFirst = true;
  const pausing = linkAbort(signal);
  const { cutShort } = options;
  try {
    signal.throwIfAborted();
    let asked = performance.now();
    let cursor = await readReply(
      await cluster.command(options.db, options.command, { session, signal, rawCursor: true }),
    );
    for (;;) {
      open = cursor.id.isZero()
        ? undefined
        : { id: cursor.id, collection: cursor.ns.slice(cursor.ns.indexOf('.') + 1) };
      if (open !== undefined) {
        awaitMs = isFirst ? awaitMs : options.awaitMs?.();
        isFirst = false;
        const next = { ...open, session, awaitMs };
        const pauseMs = options.pauseMs?.(cursor.batch.length) ?? 0;
        ahead = readLater(
          pauseMs > 0
            ? sleep(pauseMs, pausing.signal).then(() => getMore(cluster, options, next, signal))
            : getMore(cluster, options, next, signal),
        );
      }
      options.onReply?.(performance.now() - asked, cursor.batch.bytes);
      yield cursor.batch;
      if (ahead === undefined) return;
      signal.throwIfAborted();
      asked = performance.now();
      const reply: Doc | undefined = cutShort === undefined ? await ahead : await orAborted(ahead, cutShort);
      if (reply === undefined) return;
      ahead = undefined;
      cursor = await readReply(reply);
    }
  } finally {
    pausing.abort(new Error('the cursor is read no further'));
    pausing.dispose();
    const isCut = cutShort?.aborted === true;
    const settled = Promise.allSettled([ahead]);
    // A server that waits for an event does not see that its cursor is killed before there is one, whatever it is of.
    if (!isCut) await settled;
    if (open !== undefined) await killCursor(cluster, options.db, open, isCut ? undefined : session);
    const ended = settled.then(() => session.endSession());
    if (isCut) void readLater(ended);
    else await ended;
  }
}

/** What is there already is there at once, and that there is no more should be known as soon. */
const FIRST_AWAIT_MS = 10;

interface OpenCursor {
  readonly id: Long;
  readonly collection: string;
  readonly session: DriverSession;
}

/** For the server's answer that a cursor is closed; one that is not drops it by itself after ten minutes. */
const KILL_MS = 2000;

interface CursorReply {
  readonly id: Long;
  readonly ns: string;
  readonly batch: RawBatch;
}

/** What is done with a reply of this size, up to its being written, takes some milliseconds. */
const LARGE_BYTES = 256 * 1024;
/** Several may have come at once; whoever asks the main thread for progress would wait for all of them. */
const turns = new LoopTurns();

const EMPTY_ARRAY = Buffer.of(5, 0, 0, 0, 0);

/** All but the batch is decoded. Source: MongoDB manual, cursors of `find` and `getMore`. */
async function readReply(reply: Doc): Promise<CursorReply> {
  const raw = reply['cursor'] as Buffer;
  if (raw.length >= LARGE_BYTES && isMainThread) await turns.next();
  let array: Buffer = EMPTY_ARRAY;
  const others: Buffer[] = [];
  forEachField(raw, (name, { type, start, end }) => {
    if (name === 'firstBatch' || name === 'nextBatch') array = raw.subarray(start, end);
    else others.push(fieldOf(name, type, raw.subarray(start, end)));
    return true;
  });
  const decoded = decodeReply(documentOfFields(...others));
  const { id, ns, postBatchResumeToken: token } = decoded as { id: Long; ns: string; postBatchResumeToken?: Doc };
  const isStream = token?.['_data'] !== undefined;
  const position = isStream ? Position.ofResumeToken(token) : undefined;
  return { id, ns, batch: new RawBatch(array, { position, resumeAfter: token }) };
}

function getMore(
  cluster: Cluster,
  options: RawCursorOptions,
  open: OpenCursor & { readonly awaitMs: number | undefined },
  signal: AbortSignal,
): Promise<Doc> {
  return cluster.command(
    options.db,
    {
      getMore: open.id,
      collection: open.collection,
      ...(options.batchSize === undefined ? {} : { batchSize: options.batchSize }),
      ...(open.awaitMs === undefined ? {} : { maxTimeMS: open.awaitMs }),
    },
    { session: open.session, signal, rawCursor: true },
  );
}

/** Without a session while a command of the cursor's is under way. */
async function killCursor(
  cluster: Cluster,
  db: string,
  { id, collection }: Pick<OpenCursor, 'id' | 'collection'>,
  session: DriverSession | undefined,
): Promise<void> {
  // Also after the iteration's own signal has aborted.
  const signal = AbortSignal.timeout(KILL_MS);
  try {
    const inSession = session === undefined ? {} : { session };
    await cluster.command(db, { killCursors: collection, cursors: [id] }, { ...inSession, signal });
  } catch (error) {
    // The server drops idle cursors by itself; a failure here must not hide why the iteration ended.
    if (!(signal.aborted || error instanceof MongoError || error instanceof TransientError)) throw error;
  }
}
