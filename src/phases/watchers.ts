/** Watches the oplog and the catalog beside the phases of a run, each until its signal aborts. */
import { secondsOf } from '../bson/position.js';
import type { Cluster } from '../cluster/cluster.js';
import { oplogTime } from '../cluster/oplog.js';
import { writeOplogNote } from '../cluster/oplog-note.js';
import { checkCatalog } from '../cutover/catalog-check.js';
import type { StreamPace } from '../documents/stream-pace.js';
import { AppError } from '../errors.js';
import { beat, sleep } from '../lib/signals.js';
import { type RunContext, startTimeOf } from './run-context.js';

/** What goes on beside the phases of a run, each until its signal aborts. */

const NOTE_MS = 10_000;
const LAG_WATCH_MS = 1000;
const OPLOG_WATCH_MS = 30_000;
const CATALOG_WATCH_MS = 30_000;

/**
 * Ends a copy whose changes the oplog no longer holds: it can only fail in the end, better at once than hours later.
 * Errors: OplogRolledOver.
 */
export async function watchOplog(context: RunContext, signal: AbortSignal): Promise<void> {
  const { source, logger } = context;
  const needed = secondsOf(startTimeOf(context));
  for (;;) {
    await sleep(OPLOG_WATCH_MS, signal);
    const oldest = await oplogTime(source, 1, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      // Who may not read the oplog goes without the early warning; the change stream itself still tells.
      logger.debug('The oplog could not be read', { error });
      return undefined;
    });
    if (oldest !== undefined && oldest > needed) {
      throw new AppError(
        'OplogRolledOver',
        `the oplog of ${source.name} no longer reaches back to the beginning of the copy. Make it larger with replSetResizeOplog and start a new migration`,
      );
    }
  }
}

/** Sources before 6.0 tell of few catalog changes: better found now than at the commit. */
export async function watchCatalog({ source, collections, scope }: RunContext, signal: AbortSignal): Promise<void> {
  while (!source.isAtLeast(6)) {
    await sleep(CATALOG_WATCH_MS, signal);
    await checkCatalog(source, collections, scope, signal);
  }
}

/**
 * Keeps the stream's position moving while nobody writes, so that it cannot age out of the oplog. No news, or progress would
 * show a lag that there is not until the stream is there.
 */
export async function keepWritingNotes({ source }: { readonly source: Cluster }, signal: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(NOTE_MS, signal);
    await writeOplogNote(source, 'alive', signal, { isNoNews: true });
  }
}

/**
 * Lets idle streams tell how far they are where the source's time is known to have gone on: progress would show a lag that
 * there is not. `appliedSeconds`: up to which time everything is applied, in seconds since the epoch.
 */
export async function watchIdleStreams(
  { source, pace }: { readonly source: Pick<Cluster, 'now'>; readonly pace: StreamPace },
  appliedSeconds: () => number | undefined,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await beat(LAG_WATCH_MS, signal);
    const { now } = source;
    const applied = appliedSeconds();
    if (now !== undefined && applied !== undefined && secondsOf(now) > applied) pace.look();
  }
}
