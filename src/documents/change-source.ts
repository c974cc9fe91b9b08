/** Declares where changes come from: the interface that the pipeline and the verifier know. */
import type { Doc } from '../bson/bson.js';
import type { Position, ReachedPosition } from '../bson/position.js';

/** Events as raw BSON, in stream order, and the position behind them. */
export interface ChangeBatch extends ReachedPosition {
  readonly events: Buffer[];
  /**
   * The parts that did not fit into a 16 MB reply are missing from these events: what they would have carried must be
   * read from the source. (`fullDocument`, `rawUpdateDescription` and `updateDescription`.)
   */
  readonly reduced: boolean;
}

/** What a reader wants of the changes. */
export interface ChangeOptions {
  /** Updates as the server's own deltas (docs/04-apply.md); both sides must know them. */
  readonly rawDeltas: boolean;
  /** Milliseconds a read waits for events before it reports the position alone. */
  readonly awaitMs: number;
  /**
   * Milliseconds that changes may be gathered on the server before they are read, while there are few: fewer and fuller
   * replies cost all three sides less. Default none.
   */
  readonly gatherMs?: number;
  /** Further stages after $changeStream, e.g. a $match. */
  readonly stages?: readonly Doc[];
  /** How long each read has taken, and how many bytes it gave. */
  readonly onReply?: (ms: number, bytes: number) => void;
}

/**
 * Gives the changes of one cluster in batches, each with the position behind it, from a position on and for ever. Who
 * reads does not know whether they come from a live stream, from what was kept of one, or from a part of one.
 * Errors: as `readChanges`.
 */
export interface ChangeSource {
  read(from: Position, options: ChangeOptions, signal: AbortSignal): AsyncIterable<ChangeBatch>;
}
